// Shared by all widgets, put before each one's own script.
// Every text goes through a text node: names of files and processes are never read as HTML.

const SVG_SPACE = "http://www.w3.org/2000/svg";

function element(space, tag, attributes, children) {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const html = (tag, attributes = {}, ...children) => element(null, tag, attributes, children);
const drawn = (tag, attributes = {}, ...children) => element(SVG_SPACE, tag, attributes, children);

// Draw again when one of these traits changes, at most once a frame. Returns what undoes it.
function follow(model, traits, draw) {
  let waiting = 0;
  const later = () => {
    if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw(); });
  };
  for (const trait of traits) model.on(`change:${trait}`, later);
  return () => {
    cancelAnimationFrame(waiting);
    for (const trait of traits) model.off(`change:${trait}`, later);
  };
}

const hue = (number) => (number === 0 ? "lk-c0" : `lk-c${((number - 1) % 8) + 1}`);

const digits = (n) => (n >= 100 || Number.isInteger(n) ? n.toFixed(0) : n >= 10 ? String(+n.toFixed(1)) : String(+n.toFixed(2)));

function amount(count) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1000) return `${digits(count)} ${unit}`;
    count /= 1024;
  }
  return `${digits(count)} TiB`;
}

function duration(seconds) {
  if (seconds >= 1) return `${digits(seconds)} s`;
  return seconds >= 1e-3 ? `${digits(seconds * 1e3)} ms` : `${digits(seconds * 1e6)} µs`;
}

// JupyterLab takes plain keys for its own commands: what a widget uses must not reach it.
function keys(target, table) {
  target.addEventListener("keydown", (event) => {
    const action = table[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action(event);
  });
}
