// The map as a grid of buttons: hover or focus lights a namespace up, Enter or click keeps it lit.

function render({ model, el }) {
  const root = html("div", { class: "labkit lk-map", "data-lm-suppress-shortcuts": "true" });
  let pinned = null;
  let at = [0, 0];

  const cells = () => [...root.querySelectorAll(".lk-cell")];

  function light(key) {
    const space = model.get("spaces")[key];
    root.classList.toggle("lk-dimmed", Boolean(space));
    for (const cell of cells()) cell.classList.toggle("lk-lit", cell.dataset.key === key);
    const rows = new Set(cells().filter((cell) => cell.dataset.key === key).map((cell) => cell.dataset.row));
    for (const name of root.querySelectorAll(".lk-who")) name.classList.toggle("lk-lit", rows.has(name.dataset.row));
    const detail = root.querySelector(".lk-detail");
    if (!space) {
      detail.className = "lk-detail lk-c0";
      detail.replaceChildren("Point at a cell to see who else lives in that namespace; click to keep it lit.");
      return;
    }
    detail.className = `lk-detail ${hue(space.hue)}`;
    const shown = space.members.slice(0, 12).join(", ");
    const more = space.members.length > 12 ? ` and ${space.members.length - 12} more` : "";
    detail.replaceChildren(
      html("strong", {}, `${space.kind} namespace `), html("span", { class: "lk-mono" }, String(space.identity)),
      space.hue ? ` (${space.letter})` : " (the host's)",
      html("div", { class: "lk-note" }, `${space.members.length} inside: ${shown}${more}`));
  }

  function cell(lines, spaces, kinds, row, column) {
    const kind = kinds[column];
    const key = lines[row].cells[kind];
    if (!key) return html("td", {}, "");
    const space = spaces[key];
    const same = (other) => lines[other]?.cells[kind] === key;
    const classes = ["lk-cell", hue(space.hue), space.hue ? "" : "lk-host",
      same(row - 1) ? "lk-up" : "", same(row + 1) ? "lk-down" : ""].join(" ");
    const owner = space.hue ? `namespace ${space.letter}` : "the host's namespace";
    return html("td", {}, html("button", {
      class: classes, type: "button", tabindex: row === at[0] && column === at[1] ? "0" : "-1",
      "data-key": key, "data-row": row, "data-column": column, "aria-pressed": String(pinned === key),
      "aria-label": `${lines[row].name} ${lines[row].where}, ${kind}: ${owner}, inode ${space.identity}`,
      onmouseenter: () => { if (!pinned) light(key); }, onmouseleave: () => { if (!pinned) light(null); },
      onfocus: () => { at = [row, column]; if (!pinned) light(key); },
      onclick: () => pin(pinned === key ? null : key),
    }, space.letter || "host"));
  }

  function pin(key) {
    pinned = key;
    for (const one of cells()) one.setAttribute("aria-pressed", String(one.dataset.key === key));
    light(key);
  }

  function move(rows, columns) {
    const target = root.querySelector(`.lk-cell[data-row="${at[0] + rows}"][data-column="${at[1] + columns}"]`);
    if (!target) return;
    for (const one of cells()) one.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }

  function draw() {
    const [kinds, lines, spaces] = [model.get("kinds"), model.get("lines"), model.get("spaces")];
    if (pinned && !spaces[pinned]) pinned = null;
    const body = lines.map((line, row) => {
      const first = row === 0 || lines[row - 1].group !== line.group;
      return html("tr", { class: first && row ? "lk-first" : null },
        html("th", { scope: "row", class: `lk-group ${hue(line.hue)}`, title: line.group }, first ? line.group : ""),
        html("td", { class: "lk-who", "data-row": row, title: line.command },
          html("span", { class: "lk-mono" }, line.name), html("span", { class: "lk-note lk-mono" }, line.where)),
        ...kinds.map((_, column) => cell(lines, spaces, kinds, row, column)));
    });
    const more = model.get("left_out");
    root.replaceChildren(
      html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "Who shares which namespace"),
        html("span", { class: "lk-note" }, "same colour and letter in a column: same namespace · grey: the host’s"
          + (more ? ` · ${more} rows left out` : ""))),
      html("div", { class: "lk-scroll" }, html("table", { "aria-label": "Processes and their namespaces" },
        html("thead", {}, html("tr", {}, html("th", {}, ""), html("th", {}, ""),
          ...kinds.map((kind) => html("th", { scope: "col" }, kind)))),
        html("tbody", {}, ...body))),
      html("div", { class: "lk-detail", "aria-live": "polite" }));
    light(pinned);
  }

  keys(root, {
    ArrowUp: () => move(-1, 0), ArrowDown: () => move(1, 0), ArrowLeft: () => move(0, -1), ArrowRight: () => move(0, 1),
    Escape: () => pin(null),
  });
  draw();
  el.append(root);
  return follow(model, ["kinds", "lines", "spaces", "left_out"], draw);
}

export default { render };
