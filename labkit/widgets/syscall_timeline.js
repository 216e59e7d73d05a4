// Lanes of bars over time. Zoom with the buttons, + and -, or Ctrl and the wheel; arrows walk along the operations.

const [WIDE, LEFT, STEP, GAP] = [960, 96, 22, 10];
const LEAST_SPAN = 2e-5;

// Times and places differ by the folds: quiet stretches that the axis shows short, as in timeline_axis.py.
function placeOf(at, folds) {
  return folds.reduce((place, fold) => {
    const length = fold.until - fold.at;
    return place - Math.min(Math.max(at - fold.at, 0), length) * (1 - fold.shown / length);
  }, at);
}

function ticks(begin, end, folds) {
  const rough = (end - begin) / 7;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  const starts = [0, ...folds.map((fold) => fold.until)];
  const stops = [...folds.map((fold) => fold.at), Infinity];
  starts.forEach((start, part) => {
    const shift = start - placeOf(start, folds);
    const first = Math.ceil(Math.max(start, begin + shift) / step - 1e-9);
    for (let n = first; n * step <= stops[part] && placeOf(n * step, folds) <= end; n++) found.push(n * step);
  });
  return { found, step };
}

function tickWord(at, step) {
  const [factor, unit] = step >= 0.1 ? [1, "s"] : step >= 1e-4 ? [1e3, "ms"] : [1e6, "µs"];
  return `${+(at * factor).toFixed(3)} ${unit}`;
}

function render({ model, el }) {
  const operations = () => model.get("operations");
  let whole = Math.max(model.get("axis_seconds") * 1.02, LEAST_SPAN);
  let [begin, end] = [0, whole];
  const canvas = drawn("svg", { class: "lk-lanes", tabindex: "0", role: "application",
    "aria-label": "Kernel operations over time: arrow keys walk, plus and minus zoom, 0 shows all" });
  const detail = html("div", { class: "lk-detail", "aria-live": "polite" });
  const tool = (words, label, action) => html("button", { type: "button", class: "lk-tool", "aria-label": label, title: label, onclick: action }, words);

  const across = (place) => LEFT + ((place - begin) / (end - begin)) * (WIDE - LEFT);

  function view(from, to) {
    const span = Math.min(whole, Math.max(LEAST_SPAN, to - from));
    begin = Math.min(Math.max(0, from), whole - span);
    end = begin + span;
    draw();
  }

  function zoom(factor, around) {
    const chosen = operations()[model.get("selected")];
    const fixed = around ?? (chosen && chosen.from >= begin && chosen.from <= end ? chosen.from : (begin + end) / 2);
    view(fixed - (fixed - begin) * factor, fixed + (end - fixed) * factor);
  }

  function select(number) {
    const one = operations()[number];
    if (!one) return;
    model.set("selected", number);
    model.save_changes();
    const middle = (one.from + one.to) / 2;
    if (one.from < begin || one.to > end) view(middle - (end - begin) / 2, middle + (end - begin) / 2);
    else draw();
  }

  function walk(step) {
    const now = model.get("selected");
    select(now < 0 ? 0 : Math.min(operations().length - 1, Math.max(0, now + step)));
  }

  function change(step) {
    const here = operations()[model.get("selected")];
    if (!here) { walk(1); return; }
    const lanes = model.get("lanes");
    const lane = lanes[lanes.indexOf(here.process) + step];
    let best = -1;
    operations().forEach((one, number) => {
      if (one.process !== lane) return;
      if (best < 0 || Math.abs(one.at - here.at) < Math.abs(operations()[best].at - here.at)) best = number;
    });
    select(best);
  }

  function bar(one, number, top, room) {
    const x = Math.max(LEFT, across(one.from));
    const width = Math.max(one.error ? 9 : 3, Math.min(WIDE, across(one.to)) - x);
    const y = top + one.row * STEP;
    const group = drawn("g", { class: `lk-bar ${hue(one.hue)}${one.error ? " lk-failed" : ""}${number === model.get("selected") ? " lk-chosen" : ""}`,
      "data-number": number, onclick: () => { canvas.focus({ preventScroll: true }); select(number); },
      ondblclick: () => { const half = Math.max(one.to - one.from, LEAST_SPAN) * 2; view((one.from + one.to) / 2 - half, (one.from + one.to) / 2 + half); } },
      drawn("title", {}, `${one.call}: ${one.said} (${duration(one.took)})`),
      drawn("rect", { x: x - 2, y: y - 1, width: width + 4, height: STEP, class: "lk-hit" }),
      drawn("rect", { x, y, width, height: STEP - 3, rx: 2, class: "lk-mark" }));
    if (one.error && width < 24) group.append(drawn("text", { x: x + width / 2, y: y + 13, class: "lk-inside lk-middle" }, "✕"));
    const word = one.error ? `✕ ${one.call}` : one.call;
    const length = word.length * 6.4;
    if (width > length + 10) group.append(drawn("text", { x: x + 5, y: y + 14, class: "lk-inside" }, word));
    else if (room - x - width > length + 9) group.append(drawn("text", { x: x + width + 4, y: y + 14 }, one.call));
    return group;
  }

  function lane(name, top) {
    const mine = operations().map((one, number) => [one, number]).filter(([one]) => one.process === name);
    const rows = 1 + Math.max(...mine.map(([one]) => one.row));
    const height = rows * STEP + 8;
    const parts = [drawn("rect", { x: LEFT, y: top, width: WIDE - LEFT, height, rx: 4, class: "lk-field" }),
      drawn("text", { x: 0, y: top + 19, class: "lk-lane" }, name.length > 13 ? `${name.slice(0, 12)}…` : name)];
    const seen = mine.filter(([one]) => one.from <= end && one.to >= begin);
    seen.forEach(([one, number], index) => {
      const following = seen.slice(index + 1).find(([other]) => other.row === one.row);
      const edges = model.get("folds").map((fold) => across(placeOf(fold.at, model.get("folds")))).filter((x) => x >= across(one.from));
      parts.push(bar(one, number, top + 4, Math.min(WIDE, following ? across(following[0].from) : WIDE, ...edges)));
    });
    return { parts, height };
  }

  function foldMark(fold, folds, bottom) {
    const [x, stop] = [across(placeOf(fold.at, folds)), across(placeOf(fold.until, folds))];
    if (stop < LEFT || x > WIDE) return [];
    const from = Math.max(LEFT, x);
    const middle = { x: (from + Math.min(WIDE, stop)) / 2, class: "lk-quiet lk-middle" };
    return [drawn("rect", { x: from, y: 2, width: Math.min(WIDE, stop) - from, height: bottom - 2, class: "lk-fold" }),
      drawn("text", { ...middle, y: bottom + GAP + 10 }, `${duration(fold.until - fold.at)} quiet`)];
  }

  function tell() {
    const number = model.get("selected");
    const one = operations()[number];
    detail.className = `lk-detail ${one ? hue(one.hue) : "lk-c0"}`;
    if (!one) {
      detail.replaceChildren(operations().length ? "Click a bar, or use the arrow keys, to read what was asked of the kernel and why." : "Nothing was recorded.");
      return;
    }
    detail.replaceChildren(
      html("div", {}, html("strong", { class: "lk-mono" }, one.call), " ", html("span", { class: "lk-mono" }, one.said)),
      html("div", { class: "lk-note" }, `${number + 1} of ${operations().length} · ${one.process} · at ${duration(one.at)} · took ${duration(one.took)}`,
        one.chapter ? ` · explained in chapter ${one.chapter}${one.family ? `, ${one.family}` : ""}` : ""),
      one.error ? html("div", { class: "lk-alarm" }, `✕ refused: ${one.error}`) : null);
  }

  function draw() {
    const parts = [];
    let top = 2;
    for (const name of model.get("lanes")) {
      const made = lane(name, top);
      parts.push(...made.parts);
      top += made.height + GAP;
    }
    const folds = model.get("folds");
    for (const fold of folds) parts.push(...foldMark(fold, folds, top - GAP));
    const { found, step } = ticks(begin, end, folds);
    const taken = folds.map((fold) => across(placeOf(fold.at, folds) + fold.shown / 2));
    for (const at of found) {
      const x = across(placeOf(at, folds));
      if (taken.some((other) => Math.abs(x - other) < 64)) continue;
      taken.push(x);
      parts.push(drawn("line", { x1: x, x2: x, y1: 2, y2: top - GAP + 4, class: "lk-grid" }),
        drawn("text", { x, y: top + 10, class: x > WIDE - 30 ? "lk-axis lk-right" : x < LEFT + 20 ? "lk-axis" : "lk-axis lk-middle" }, tickWord(at, step)));
    }
    canvas.setAttribute("viewBox", `0 0 ${WIDE} ${top + 16}`);
    canvas.replaceChildren(...parts);
    tell();
  }

  const root = html("div", { class: "labkit lk-timeline", "data-lm-suppress-shortcuts": "true" },
    html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "What was asked of the kernel"),
      html("span", { class: "lk-note" }, `${operations().length} operations in ${duration(model.get("span_seconds"))}`),
      html("span", { class: "lk-tools" },
        tool("‹", "earlier", () => view(begin - (end - begin) / 3, end - (end - begin) / 3)),
        tool("›", "later", () => view(begin + (end - begin) / 3, end + (end - begin) / 3)),
        tool("+", "zoom in", () => zoom(0.5)), tool("−", "zoom out", () => zoom(2)), tool("all", "show all", () => view(0, whole)))),
    canvas,
    html("div", { class: "lk-legend" }, ...model.get("families").map((family) =>
      html("span", { class: hue(family.hue) }, html("i", {}), `${family.chapter} ${family.name}`))),
    detail);

  keys(canvas, {
    ArrowRight: () => walk(1), ArrowLeft: () => walk(-1), ArrowDown: () => change(1), ArrowUp: () => change(-1),
    Home: () => select(0), End: () => select(operations().length - 1),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => view(0, whole),
    Escape: () => { model.set("selected", -1); model.save_changes(); draw(); },
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDE;
    zoom(event.deltaY > 0 ? 1.25 : 0.8, begin + ((Math.max(LEFT, x) - LEFT) / (WIDE - LEFT)) * (end - begin));
  }, { passive: false });

  draw();
  el.append(root);
  return follow(model, ["selected", "operations"], draw);
}

export default { render };
