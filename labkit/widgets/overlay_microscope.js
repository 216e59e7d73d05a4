// One row a path, one column a layer. The line of sight runs from merged to the layer that stops it.

function render({ model, el }) {
  const root = html("div", { class: "labkit lk-overlay", "data-lm-suppress-shortcuts": "true" });
  let chosen = null;
  let known = null;

  function cell(row, column, sight) {
    const { state, said, opaque } = row.cells[column];
    const through = column + 1 < sight ? "lk-through" : column + 1 === sight ? "lk-stop" : "";
    const classes = ["lk-plane", hue(column + 1), through].join(" ");
    if (state === "empty") return html("td", { class: classes });
    return html("td", { class: classes },
      html("span", { class: `lk-version lk-${state}${opaque ? " lk-opaque" : ""}` }, said));
  }

  function line(row, fresh) {
    const first = row.cells.findIndex((one) => one.state === "wins") + 1;
    const sight = row.cells.findLastIndex((one) => one.state === "wins" || one.state === "merged") + 1;
    const marks = { deleted: "lk-alarm", "copied up": "lk-copied", opaque: "lk-copied", new: "lk-copied" };
    return html("tr", { style: first ? `--lk-sight: var(--lk-${((first - 1) % 8) + 1})` : null, class: [row.seen ? "" : "lk-gone", fresh.has(row.path) ? "lk-fresh" : ""].join(" ") },
      html("th", { scope: "row" }, html("button", {
        type: "button", class: "lk-path lk-mono", style: `padding-left:${row.depth * 16}px`, "data-path": row.path,
        tabindex: "-1", "aria-expanded": String(row.path === chosen), onclick: () => choose(row.path), title: row.path,
      }, html("span", { class: "lk-name" }, row.name))),
      html("td", { class: `lk-mark lk-note ${marks[row.mark] ?? ""}` }, row.mark),
      html("td", { class: `lk-plane lk-eye ${hue(first)} ${sight ? "lk-through" : ""}` },
        html("span", { class: row.seen ? "lk-dot" : "lk-dot lk-none", "aria-label": row.seen ? "in the merged view" : "not in the merged view" })),
      ...row.cells.map((_, column) => cell(row, column, sight)));
  }

  function tell() {
    const detail = root.querySelector(".lk-detail");
    const row = model.get("rows").find((one) => one.path === chosen);
    for (const button of root.querySelectorAll(".lk-path")) {
      button.setAttribute("aria-expanded", String(button.dataset.path === chosen));
      button.closest("tr").classList.toggle("lk-chosen", button.dataset.path === chosen);
    }
    if (!row) {
      detail.replaceChildren("Choose a path to see its version in each layer, and which one wins.");
      return;
    }
    const names = model.get("layers").map((layer) => layer.name);
    detail.replaceChildren(html("strong", { class: "lk-mono" }, `/${row.path}`),
      html("dl", {}, ...row.story.flatMap((one) => [
        html("dt", { class: hue(names.indexOf(one.layer) + 1) }, one.layer),
        html("dd", {}, `${one.what} — ${one.fate}`)])));
  }

  function choose(path) {
    chosen = chosen === path ? null : path;
    tell();
  }

  function happenings() {
    const events = model.get("events");
    return html("div", { class: "lk-events lk-note", "aria-live": "polite" },
      ...events.map((one) => html("span", {}, html("b", { class: one.what === "deleted" ? "lk-alarm" : null }, one.what), " ", html("span", { class: "lk-mono" }, one.path))));
  }

  function draw() {
    const [layers, rows] = [model.get("layers"), model.get("rows")];
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset?.path : undefined;
    const scrolled = root.querySelector(".lk-scroll")?.scrollTop ?? 0;
    const now = new Map(rows.map((row) => [row.path, JSON.stringify(row)]));
    const fresh = new Set(known ? [...now].filter(([path, text]) => known.get(path) !== text).map(([path]) => path) : []);
    known = now;
    const more = model.get("left_out");
    root.replaceChildren(...[
      html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "Which layer each path comes from"),
        html("span", { class: "lk-note" }, model.get("watching") ? "watching · " : "",
          `${rows.length} paths · filled: seen · dashed: hidden · thick edge: opaque`)),
      html("div", { class: "lk-scroll" }, html("table", { "aria-label": "Paths and the layers that have them" },
        html("thead", {}, html("tr", {}, html("th", {}), html("th", {}),
          html("th", { scope: "col", class: "lk-plane lk-eye", title: model.get("merged") }, "merged",
            html("div", { class: "lk-place" }, "what is seen")),
          ...layers.map((layer, column) => html("th", { scope: "col", class: `lk-plane ${hue(column + 1)}`, title: layer.place }, layer.name,
            html("div", { class: "lk-place lk-mono" }, layer.place.split("/").slice(-2).join("/")))))),
        html("tbody", {}, ...rows.map((row) => line(row, fresh))))),
      more ? html("div", { class: "lk-note lk-left-out" }, `left out: ${more}`) : null, happenings(), html("div", { class: "lk-detail", "aria-live": "polite" })].filter(Boolean));
    const buttons = [...root.querySelectorAll(".lk-path")];
    const entry = buttons.find((one) => one.dataset.path === (focused ?? chosen)) ?? buttons[0];
    if (entry) entry.tabIndex = 0;
    root.querySelector(".lk-scroll").scrollTop = scrolled;
    if (focused !== undefined && entry) entry.focus({ preventScroll: true });
    tell();
  }

  function move(step) {
    const buttons = [...root.querySelectorAll(".lk-path")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    for (const one of buttons) one.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  keys(root, { ArrowUp: () => move(-1), ArrowDown: () => move(1), Escape: () => { chosen = null; tell(); } });
  draw();
  el.append(root);
  return follow(model, ["layers", "rows", "events", "left_out", "watching"], draw);
}

export default { render };
