// One row a layer, the topmost first. The hatched part of a bar is what the chosen image hides.

function render({ model, el }) {
  const root = html("div", { class: "labkit lk-stack", "data-lm-suppress-shortcuts": "true" });
  let opened = null;

  function bar(row, most, number) {
    const lost = row.hidden[model.get("chosen")] ?? 0;
    const percent = (bytes) => `${(100 * bytes) / most}%`;
    return html("div", { class: "lk-room" },
      html("div", { class: "lk-bar", style: `width:max(3px, ${percent(row.size_bytes)})` },
        lost ? html("div", { class: "lk-lost", style: `width:${(100 * lost) / row.size_bytes}%`,
          title: `${amount(lost)} that nobody sees` }) : null));
  }

  function line(row, number, rows, most) {
    const names = model.get("images");
    const lost = row.hidden[model.get("chosen")] ?? 0;
    const mine = row.images.includes(model.get("chosen"));
    return html("tr", { class: `${hue(rows.length - number)} ${mine ? "" : "lk-other"}` },
      html("th", { scope: "row" }, html("button", {
        type: "button", class: "lk-layer", "data-layer": row.name, "aria-expanded": String(row.name === opened),
        tabindex: "-1", title: `${row.digest}\n${row.created_by}`, onclick: () => open(row.name),
      }, html("b", {}, row.name), " ", html("span", { class: "lk-mono lk-note" }, row.created_by))),
      html("td", {}, bar(row, most, number)),
      html("td", { class: "lk-number" }, amount(row.size_bytes)),
      html("td", { class: "lk-number lk-alarm" }, lost ? `${amount(lost)} hidden` : ""),
      ...names.map((name) => html("td", { class: "lk-has" }, html("span", {
        class: row.images.includes(name) ? "lk-dot" : "lk-dot lk-none",
        "aria-label": row.images.includes(name) ? `${name} has it` : `${name} does not have it` }))));
  }

  function tell() {
    const detail = root.querySelector(".lk-detail");
    const [rows, chosen] = [model.get("rows"), model.get("chosen")];
    const number = rows.findIndex((row) => row.name === opened);
    for (const button of root.querySelectorAll(".lk-layer"))
      button.setAttribute("aria-expanded", String(button.dataset.layer === opened));
    detail.className = `lk-detail ${number < 0 ? "" : hue(rows.length - number)}`;
    if (number < 0) {
      detail.replaceChildren("Choose a layer to see its largest files, and which of them nobody sees any more.");
      return;
    }
    const row = rows[number];
    const more = row.count - row.files.length;
    detail.replaceChildren(...[html("strong", { class: "lk-mono" }, row.created_by || row.name),
      html("div", { class: "lk-note lk-mono" }, row.digest),
      html("dl", {}, ...row.files.flatMap((file) => {
        const by = file.hidden_by[chosen];
        return [html("dt", {}, amount(file.size_bytes)),
          html("dd", {}, html("span", { class: `lk-mono ${by ? "lk-gone" : ""}` }, `/${file.path}`),
            by ? html("span", { class: "lk-alarm" }, ` hidden by ${by}, and still in this image`) : null)];
      })),
      more > 0 ? html("div", { class: "lk-note" }, `and ${more} smaller files`) : null,
      row.count ? null : html("div", { class: "lk-note" }, "no file of its own: it only deletes, or makes directories")].filter(Boolean));
  }

  function open(name) {
    opened = opened === name ? null : name;
    tell();
  }

  function choose(name) {
    model.set("chosen", name);
    model.save_changes();
  }

  function draw() {
    const [names, rows, chosen] = [model.get("images"), model.get("rows"), model.get("chosen")];
    const most = Math.max(1, ...rows.map((row) => row.size_bytes));
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset : {};
    root.replaceChildren(
      html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "What each layer weighs"),
        html("span", { class: "lk-note" }, "hatched: hidden by a higher layer")),
      html("div", { class: "lk-scroll" }, html("table", { "aria-label": "Layers and their sizes" },
        html("thead", {}, html("tr", {}, html("th", {}), html("th", {}), html("th", {}), html("th", {}),
          ...names.map((name) => html("th", { scope: "col", class: "lk-has" }, html("button", {
            type: "button", class: "lk-image", "data-image": name, "aria-pressed": String(name === chosen),
            onclick: () => choose(name), title: `see what ${name} hides` }, name))))),
        html("tbody", {}, ...rows.map((row, number) => line(row, number, rows, most))))),
      html("div", { class: "lk-total", "aria-live": "polite" }, model.get("totals")[chosen] ?? ""),
      html("div", { class: "lk-detail", "aria-live": "polite" }));
    const buttons = [...root.querySelectorAll(".lk-layer")];
    const entry = buttons.find((one) => one.dataset.layer === (focused.layer ?? opened)) ?? buttons[0];
    if (entry) entry.tabIndex = 0;
    const again = focused.image ? [...root.querySelectorAll(".lk-image")].find((one) => one.dataset.image === focused.image) : focused.layer ? entry : null;
    again?.focus({ preventScroll: true });
    tell();
  }

  function move(step) {
    const buttons = [...root.querySelectorAll(".lk-layer")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    for (const one of buttons) one.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  keys(root, { ArrowUp: () => move(-1), ArrowDown: () => move(1), Escape: () => { opened = null; tell(); } });
  draw();
  el.append(root);
  return follow(model, ["images", "rows", "chosen", "totals"], draw);
}

export default { render };
