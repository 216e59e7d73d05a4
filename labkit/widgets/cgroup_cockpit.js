// Four charts that follow the samples. The model keeps the history: increments are added,
// a keyframe replaces it, so a view that opens late shows the same as the first.

function initialize(store, { model }) {
  store.samples = [...model.get("history")];
  const add = () => {
    for (const sample of model.get("latest")) {
      const last = store.samples.at(-1);
      if (!last || sample.at > last.at) store.samples.push(sample);
    }
    const oldest = (store.samples.at(-1)?.at ?? 0) - model.get("keep_seconds");
    while (store.samples.length && store.samples[0].at < oldest) store.samples.shift();
  };
  const replace = () => {
    const whole = model.get("history");
    const end = whole.at(-1)?.at ?? -1;
    store.samples = [...whole, ...store.samples.filter((sample) => sample.at > end)];
  };
  model.on("change:latest", add);
  model.on("change:history", replace);
  return () => { model.off("change:latest", add); model.off("change:history", replace); };
}

function say(chart, value) {
  if (value === null || value === undefined) return "not counted here";
  if (chart.title === "CPU") return `${value.toFixed(2)} CPU`;
  if (chart.title === "Processes") return `${Math.round(value)} ${Math.round(value) === 1 ? "process" : "processes"}`;
  return amount(value) + (chart.title === "I/O" ? "/s" : "");
}

function total(chart, sample) {
  const values = chart.values.map((field) => sample[field]).filter((value) => value !== null);
  return values.length ? values.reduce((sum, value) => sum + value, 0) : null;
}

function scaleOf(chart, samples) {
  let highest = 0;
  for (const sample of samples) for (const field of chart.values) highest = Math.max(highest, sample[field] ?? 0);
  const limit = samples.at(-1)?.[chart.limit] ?? null;
  if (limit !== null && limit < 8 * Math.max(highest, chart.floor)) highest = Math.max(highest, limit);
  return Math.max(highest, chart.floor) * 1.15;
}

const [WIDE, HIGH, TOP] = [460, 120, 16];

// The times from and to which something holds, each stretch as one.
function stretches(samples, holds) {
  const found = [];
  samples.forEach((sample, i) => {
    if (!holds(sample)) return;
    const begin = samples[Math.max(0, i - 1)].at;
    if (found.length && found.at(-1)[1] === begin) found.at(-1)[1] = sample.at;
    else found.push([begin, sample.at]);
  });
  return found;
}

function marks(chart, samples, across) {
  const bands = (holds, height, name) => stretches(samples, holds).map(([begin, end]) =>
    drawn("rect", { x: across(begin), y: TOP, width: Math.max(1, across(end) - across(begin)), height, class: name }));
  const found = bands((sample) => sample.frozen, HIGH, "lk-frozen");
  if (chart.title === "CPU") found.push(...bands((sample) => sample.throttled_fraction > 0, 5, "lk-throttled"));
  if (chart.title !== "Memory") return found;
  for (const sample of samples.filter((one) => one.oom_kills_new)) {
    const x = across(sample.at);
    found.push(drawn("line", { x1: x, x2: x, y1: TOP, y2: TOP + HIGH, class: "lk-oom" }),
      drawn("text", { x: Math.min(Math.max(x, 34), WIDE - 34), y: TOP + 11, class: "lk-oom-word" }, "✕ OOM kill"));
  }
  return found;
}

function plot(chart, samples, span) {
  const end = samples.at(-1)?.at ?? 0;
  const begin = Math.max(samples[0]?.at ?? 0, end - span);
  const length = Math.max(1, end - begin);
  const across = (at) => ((at - begin) / length) * WIDE;
  const highest = scaleOf(chart, samples);
  const up = (value) => TOP + HIGH - (value / highest) * HIGH;
  const parts = [drawn("rect", { x: 0, y: TOP, width: WIDE, height: HIGH, rx: 4, class: "lk-field" }), ...marks(chart, samples, across)];
  chart.values.forEach((field, part) => {
    const points = samples.map((sample) => `${across(sample.at).toFixed(1)},${up(sample[field] ?? 0).toFixed(1)}`);
    if (!points.length) return;
    const colour = part === 0 ? hue(chart.hue) : hue(2);
    const foot = TOP + HIGH;
    parts.push(drawn("polygon", { points: `${across(samples[0].at)},${foot} ${points.join(" ")} ${across(end)},${foot}`, class: `lk-area ${colour}` }),
      drawn("polyline", { points: points.join(" "), class: `lk-curve ${colour}` }));
  });
  const limit = samples.at(-1)?.[chart.limit] ?? null;
  if (limit !== null && limit <= highest) parts.push(drawn("line", { x1: 0, x2: WIDE, y1: up(limit), y2: up(limit), class: "lk-limit" }));
  if (samples.length) {
    parts.push(drawn("text", { x: 0, y: TOP + HIGH + 14, class: "lk-axis" }, `${(Math.round(begin) || 0)} s`),
      drawn("text", { x: WIDE, y: TOP + HIGH + 14, class: "lk-axis lk-right" }, `${(begin + length).toFixed(0)} s`));
  }
  return parts;
}

function bounds(chart, samples) {
  if (!samples.length) return [];
  const last = samples.at(-1);
  const peak = `peak ${say(chart, Math.max(...samples.map((sample) => total(chart, sample) ?? 0)))}`;
  if (!chart.limit) {
    return [html("span", { class: hue(chart.hue) }, `read ${amount(last.read_bytes_per_second)}/s`), " · ",
      html("span", { class: hue(2) }, `written ${amount(last.written_bytes_per_second)}/s`), ` · ${peak}`];
  }
  const limit = last[chart.limit];
  return [limit === null ? "no limit" : `limit ${say(chart, limit)}`, ` · ${peak}`];
}

function happened(samples) {
  const kills = samples.filter((sample) => sample.oom_kills_new).slice(-3);
  const throttled = samples.filter((sample) => sample.throttled_fraction > 0).length;
  const found = kills.map((sample) => `✕ at ${sample.at.toFixed(1)} s: ${sample.oom_kills_new} killed, out of memory`);
  if (throttled) found.push(`▀ throttled in ${throttled} of ${samples.length} samples`);
  if (samples.some((sample) => sample.frozen)) found.push(samples.at(-1).frozen ? "▒ frozen" : "▒ frozen for a while");
  return found.join(" · ");
}

function render(store, { model, el }) {
  const tiles = model.get("charts").map((chart) => {
    const parts = {
      value: html("div", { class: `lk-value ${hue(chart.hue)}` }), bound: html("div", { class: "lk-bound" }),
      canvas: drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH + TOP + 18}`, role: "img", "aria-label": `${chart.title} over time` }),
    };
    const tile = html("section", { class: "lk-tile", "aria-label": chart.title },
      html("div", { class: "lk-note" }, chart.title),
      html("div", { class: "lk-row" }, parts.value, parts.bound), parts.canvas);
    return { chart, tile, ...parts };
  });
  const state = html("span", { class: "lk-state", role: "status" });
  const log = html("div", { class: "lk-log lk-note" });
  const spans = html("button", { type: "button", class: "lk-span", onclick: () => { short = !short; draw(); } });
  let short = false;
  const root = html("div", { class: "labkit lk-cockpit", "data-lm-suppress-shortcuts": "true" },
    html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "Control group "),
      html("span", { class: "lk-mono" }, model.get("path")), state, spans),
    html("div", { class: "lk-tiles" }, ...tiles.map((one) => one.tile)), log);

  function draw() {
    const span = short ? 10 : model.get("keep_seconds");
    const end = store.samples.at(-1)?.at ?? 0;
    const samples = store.samples.filter((sample) => sample.at >= end - span);
    const last = samples.at(-1);
    for (const { chart, value, bound, canvas } of tiles) {
      value.textContent = last ? say(chart, total(chart, last)) : "no sample yet";
      bound.replaceChildren(...bounds(chart, samples));
      canvas.replaceChildren(...plot(chart, samples, span));
    }
    const now = model.get("state") === "live" && last?.frozen ? "frozen" : model.get("state");
    if (state.textContent !== now) { state.textContent = now; state.dataset.state = now; }
    spans.textContent = short ? `show ${model.get("keep_seconds")} s` : "show the last 10 s";
    const said = happened(samples);
    log.textContent = said || (last ? "no events" : "start() begins the sampling");
    log.classList.toggle("lk-alarm", Boolean(said));
  }

  draw();
  el.append(root);
  return follow(model, ["latest", "history", "state"], draw);
}

// A function is called once for each widget, so all views of one share its store.
export default () => {
  const store = { samples: [] };
  return { initialize: (context) => initialize(store, context), render: (context) => render(store, context) };
};
