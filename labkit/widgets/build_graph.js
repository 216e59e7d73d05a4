// A lane a stage, a card a step; arrows run from a stage to the steps that take from it.

const SIGNS = { base: "base", cached: "from the cache", done: "made now", running: "running", waiting: "waiting", failed: "failed", unused: "not needed" };

function curve(x1, y1, x2, y2) {
  const bend = (x1 + x2) / 2;
  return `C${bend},${y1} ${bend},${y2} ${x2},${y2}`;
}

const straight = (from, to) => `M${from.right},${from.middle} ${curve(from.right, from.middle, to.left - 5, to.middle)}`;

// Over the lanes in between it runs where no card is: in the gap below the row that it comes from.
function around(from, to, lane) {
  const [gap, out, back] = [from.bottom + 2 + 3 * (lane % 2), from.right + 20, to.left - 24];
  return `M${from.right},${from.middle} ${curve(from.right, from.middle, out, gap)} L${back},${gap} ${curve(back, gap, to.left - 5, to.middle)}`;
}

function render({ model, el }) {
  const root = html("div", { class: "labkit lk-build", "data-lm-suppress-shortcuts": "true" });
  const arrows = drawn("svg", { class: "lk-arrows", "aria-hidden": "true" });
  let chosen = null;

  function figures(step) {
    if (step.state === "base") return step.note;
    if (step.state === "cached") return ["cached", step.size_bytes ? amount(step.size_bytes) : ""].filter(Boolean).join(" · ");
    if (step.state === "done" || step.state === "failed")
      return [duration(step.seconds), step.size_bytes ? amount(step.size_bytes) : ""].filter(Boolean).join(" · ");
    return SIGNS[step.state];
  }

  function card(step, number) {
    return html("button", {
      type: "button", class: `lk-step lk-is-${step.state}`, "data-step": String(number), tabindex: "-1",
      "aria-expanded": String(number === chosen), title: step.text, onclick: () => choose(number),
    }, html("span", { class: "lk-what lk-mono" }, step.text),
      html("span", { class: "lk-figures" }, figures(step), step.note && step.state !== "base" ? ` · ${step.note}` : ""));
  }

  function tell() {
    const detail = root.querySelector(".lk-detail");
    const step = model.get("steps")[chosen];
    for (const button of root.querySelectorAll(".lk-step"))
      button.setAttribute("aria-expanded", String(button.dataset.step === String(chosen)));
    if (!step) {
      detail.replaceChildren("Choose a step to see the whole of it, and why it was made again.");
      return;
    }
    detail.replaceChildren(...[html("strong", { class: "lk-mono" }, step.text),
      html("div", { class: "lk-note" }, [step.line ? `line ${step.line}` : "", SIGNS[step.state], figures(step)]
        .filter((part, place, all) => part && all.indexOf(part) === place).join(" · ")),
      step.note && step.state !== "base" ? html("div", {}, step.note) : null,
      step.takes_from.length ? html("div", { class: "lk-note" }, `takes from ${step.takes_from.join(", ")}`) : null].filter(Boolean));
  }

  function choose(number) {
    chosen = chosen === number ? null : number;
    tell();
  }

  function connect() {
    const field = root.querySelector(".lk-lanes");
    if (!field) return;
    const ground = field.getBoundingClientRect();
    arrows.setAttribute("width", field.scrollWidth);
    arrows.setAttribute("height", field.scrollHeight);
    const place = (box) => ({ left: box.left - ground.left + field.scrollLeft, right: box.right - ground.left + field.scrollLeft, middle: box.top - ground.top + box.height / 2, bottom: box.bottom - ground.top });
    const lines = [];
    const stages = model.get("stages");
    model.get("steps").forEach((step, number) => {
      for (const title of step.takes_from) {
        const source = [...field.querySelectorAll(".lk-lane")].find((lane) => lane.dataset.stage === title)?.querySelector(".lk-step:last-of-type");
        const goal = field.querySelector(`[data-step="${number}"]`);
        if (!source || !goal || title === step.stage) continue;
        const [from, to] = [place(source.getBoundingClientRect()), place(goal.getBoundingClientRect())];
        const across = stages.indexOf(step.stage) - stages.indexOf(title) > 1;
        lines.push(drawn("path", { class: "lk-arrow", d: across ? around(from, to, stages.indexOf(title)) : straight(from, to) }),
          drawn("path", { class: "lk-tip", d: `M${to.left - 7},${to.middle - 4} L${to.left},${to.middle} L${to.left - 7},${to.middle + 4} Z` }));
      }
    });
    arrows.replaceChildren(...lines);
  }

  function draw() {
    const [stages, steps] = [model.get("stages"), model.get("steps")];
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.step : undefined;
    const count = (state) => steps.filter((step) => step.state === state).length;
    const said = ["cached", "done", "running", "waiting", "failed", "unused"].filter(count).map((state) => `${count(state)} ${SIGNS[state]}`);
    root.replaceChildren(
      html("div", { class: "lk-head" }, html("span", { class: "lk-title" }, "What the build made, and what the cache gave"),
        html("span", { class: "lk-note", "aria-live": "polite" }, said.join(" · "))),
      html("div", { class: "lk-lanes" }, arrows,
        ...stages.map((title) => html("div", { class: "lk-lane", "data-stage": title },
          html("div", { class: "lk-stage" }, title),
          ...steps.map((step, number) => (step.stage === title ? card(step, number) : null))))),
      ...model.get("remarks").map((remark) => html("div", { class: "lk-note" }, remark)),
      html("div", { class: "lk-detail", "aria-live": "polite" }));
    const buttons = [...root.querySelectorAll(".lk-step")];
    const entry = buttons.find((one) => one.dataset.step === (focused ?? String(chosen))) ?? buttons[0];
    if (entry) entry.tabIndex = 0;
    if (focused !== undefined) entry?.focus({ preventScroll: true });
    tell();
    connect();
  }

  function move(step) {
    const buttons = [...root.querySelectorAll(".lk-step")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!next) return;
    for (const one of buttons) one.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  keys(root, { ArrowUp: () => move(-1), ArrowDown: () => move(1), Escape: () => { chosen = null; tell(); } });
  el.append(root);
  draw();
  const watcher = new ResizeObserver(connect);
  watcher.observe(root);
  const undo = follow(model, ["stages", "steps", "remarks"], draw);
  return () => { watcher.disconnect(); undo(); };
}

export default { render };
