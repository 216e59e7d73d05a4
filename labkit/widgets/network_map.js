// The map as one drawing; cards and published ports are buttons that show the way of their packets.

function render({ model, el }) {
  const root = html("div", { class: "labkit lk-network", "data-lm-suppress-shortcuts": "true" });
  let chosen = null;

  const buttons = () => [...root.querySelectorAll('[role="button"]')];

  function words(box) {
    const middle = box.x + box.width / 2;
    const name = box.kind === "container" || box.kind === "outside";
    const [title, note] = [fitted(box.title, box.width - 8, name ? 8.4 : 7), fitted(box.note, box.width - 8, 7)];
    const line = (x, y, text, kind, anchor = "middle") => drawn("text", { x, y, class: kind, "text-anchor": anchor }, text);
    if (box.kind === "host")
      return [line(box.x + 12, box.y + 20, box.title, "lk-name", "start"),
        line(box.x + box.width - 12, box.y + 20, box.note, "lk-soft", "end")];
    if (name)
      return [line(middle, box.y + 17, title, "lk-name"), line(middle, box.y + 42, note, "lk-soft")];
    if (box.kind === "end") return [line(middle, box.y + 14, title, "lk-soft lk-mono")];
    return [line(middle, box.y + 14, title, "lk-mono"), line(middle, box.y + 28, note, "lk-soft lk-mono")];
  }

  function fitted(text, room, character) {
    const most = Math.max(1, Math.floor(room / character));
    if (text.length <= most) return text;
    const tail = Math.floor((most - 1) / 2);
    return text.slice(0, most - 1 - tail) + "…" + (tail ? text.slice(-tail) : "");
  }

  function shape(box) {
    const attributes = { class: `lk-box lk-is-${box.kind} ${hue(box.hue)}`, "data-key": box.key };
    if (box.has_path) Object.assign(attributes, {
      role: "button", tabindex: "-1", "aria-pressed": String(chosen === box.key),
      "aria-label": `${box.title} ${box.note}: the way of its packets`, onclick: () => choose(box.key),
    });
    return drawn("g", attributes,
      drawn("title", {}, `${box.title} ${box.note}`),
      drawn("rect", { x: box.x, y: box.y, width: Math.max(0, box.width), height: box.height, rx: box.kind === "host" ? 8 : 5 }),
      ...words(box));
  }

  function cable(wire) {
    const [middle, low] = [(wire.x1 + wire.x2) / 2, wire.y2 - 14];
    return drawn("g", { class: `lk-wire ${hue(wire.hue)}${wire.is_up ? "" : " lk-down"}`, "data-ends": wire.ends.join("\n") },
      drawn("line", { x1: wire.x1, y1: wire.y1, x2: wire.x2, y2: wire.y2 }),
      drawn("text", { x: wire.y1 === wire.y2 ? middle : wire.x2 + 6, y: wire.y1 === wire.y2 ? wire.y1 - 6 : low, class: "lk-rate lk-mono" }, ""));
  }

  function flow() {
    const traffic = model.get("traffic");
    for (const wire of root.querySelectorAll(".lk-wire")) {
      const end = wire.dataset.ends.split("\n")[1];
      const [received, transmitted] = traffic[end] ?? [0, 0];
      wire.classList.toggle("lk-busy", received + transmitted > 0);
      const said = [received ? `↓ ${amount(received)}/s` : "", transmitted ? `↑ ${amount(transmitted)}/s` : ""];
      wire.querySelector("text").textContent = said.filter(Boolean).join("  ");
    }
  }

  function light() {
    const path = model.get("paths")[chosen];
    const keys = new Set((path ?? []).flatMap((step) => step.keys));
    root.classList.toggle("lk-dimmed", Boolean(path));
    for (const box of root.querySelectorAll(".lk-box")) box.classList.toggle("lk-lit", keys.has(box.dataset.key));
    for (const wire of root.querySelectorAll(".lk-wire"))
      wire.classList.toggle("lk-lit", wire.dataset.ends.split("\n").every((end) => keys.has(end)));
    for (const button of buttons()) button.setAttribute("aria-pressed", String(button.dataset.key === chosen));
    const detail = root.querySelector(".lk-detail");
    detail.replaceChildren(path
      ? html("ol", {}, ...path.map((step) => html("li", {}, step.said)))
      : "Choose a card or a published port to see the way of its packets, hop by hop.");
  }

  function choose(key) {
    chosen = chosen === key ? null : key;
    light();
  }

  function draw() {
    const [boxes, wires, size] = [model.get("boxes"), model.get("wires"), model.get("size")];
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    if (!model.get("paths")[chosen]) chosen = null;
    const hosts = boxes.filter((box) => box.kind === "host");
    const more = model.get("left_out");
    root.replaceChildren(
      html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "Who is joined to whom"),
        html("span", { class: "lk-note" }, "same colour: the same switch · dashed: no carrier" + (more ? ` · ${more} left out` : "")),
        html("span", { class: "lk-note lk-state" }, model.get("watching") ? "live" : "")),
      html("div", { class: "lk-scroll" },
        drawn("svg", { viewBox: `0 34 ${size[0]} ${size[1] - 44}`, "aria-label": "Network map", role: "group" },
          ...hosts.map(shape), ...wires.map(cable), ...boxes.filter((box) => box.kind !== "host").map(shape))),
      html("div", { class: "lk-detail", "aria-live": "polite" }));
    const entry = buttons().find((one) => one.dataset.key === (focused ?? chosen)) ?? buttons()[0];
    if (entry) entry.setAttribute("tabindex", "0");
    if (focused !== undefined) entry?.focus({ preventScroll: true });
    flow();
    light();
  }

  function move(step) {
    const all = buttons();
    const next = all[all.indexOf(document.activeElement) + step];
    if (!next) return;
    for (const one of all) one.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }

  const press = () => { if (document.activeElement?.dataset.key) choose(document.activeElement.dataset.key); };
  keys(root, {
    ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(-1), ArrowDown: () => move(1),
    Enter: press, " ": press, Escape: () => { chosen = null; light(); },
  });
  draw();
  el.append(root);
  const undo = [follow(model, ["boxes", "wires", "paths", "size", "left_out", "watching"], draw), follow(model, ["traffic"], flow)];
  return () => undo.forEach((one) => one());
}

export default { render };
