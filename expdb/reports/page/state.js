// What every part of the page knows: the table's values, which curves are shown, how a number is written.

const ROWS = JSON.parse(document.getElementById("rows").textContent);
const COUNT = ROWS.names.length;
// As many curves as can be told apart at first; as many as can be drawn at once.
const FIRST_SHOWN = 20;
const MOST_SHOWN = 300;
const COLOURS = 8;
const DASHES = ["solid", "dashed", "dotted", "dotdash"];
const MISSING = "—";

const byId = (id) => document.getElementById(id);

// Text goes in as text only: what a run is called is nobody's markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// JSON has no NaN and no infinity; they come as text.
function asNumber(value) {
  if (typeof value === "number") return value;
  return value === "inf" ? Infinity : value === "-inf" ? -Infinity : NaN;
}

// A param is text that may say a number: as compare reads it, so that 1e-04 is less than 0.002.
const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i;
function comparable(value) {
  if (typeof value !== "string" || !NUMBER.test(value)) return value;
  const number = Number(value);
  return Number.isFinite(number) ? number : value;
}

// As it was printed; without known decimals the shortest text that reads back as the same number.
function printed(value, decimals) {
  const number = asNumber(value);
  if (Number.isNaN(number)) return "nan";
  if (!Number.isFinite(number)) return number > 0 ? "inf" : "-inf";
  return decimals === null || decimals === undefined ? String(number) : number.toFixed(decimals);
}

const SIGNS = { percent: " %", s: " s", ms: " ms", min: " min", h: " h" };
const withUnit = (text, unit) => text + (SIGNS[unit] ?? "");

function place(source, first, last) {
  if (source === null) return "typed in by hand";
  const file = ROWS.sources[source];
  if (first === null) return file;
  return first === last || last === null ? `${file}:${first}` : `${file}:${first}–${last}`;
}

// A word of a command, quoted where a shell would take it apart.
const shellWord = (text) => (/^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const uidOf = (run) => ROWS.uids[run].slice(0, 8);

// The curves that are shown, each with a slot that gives it colour and dash for as long as it is shown.
const shown = {
  slots: new Map(),
  muted: new Set(),
  listeners: [],
  changed() {
    for (const listener of this.listeners) listener();
  },
  add(runs) {
    const taken = new Set(this.slots.values());
    let free = 0;
    for (const run of runs) {
      if (this.slots.has(run) || this.slots.size >= MOST_SHOWN) continue;
      while (taken.has(free)) free += 1;
      taken.add(free);
      this.slots.set(run, free);
    }
  },
  remove(run) {
    this.slots.delete(run);
    this.muted.delete(run);
  },
  replace(runs) {
    this.slots.clear();
    this.muted.clear();
    this.add(runs);
    this.changed();
  },
  // In groups, a group has one colour; else each run its own.
  place(run) {
    return grouping.place.get(run) ?? this.slots.get(run);
  },
  colour(run) {
    return `--c${this.place(run) % COLOURS}`;
  },
  dash(run) {
    return DASHES[Math.floor(this.place(run) / COLOURS) % DASHES.length];
  },
};

function download(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// One small box beside whatever is pointed at.
const tip = {
  show(x, y, ...lines) {
    const box = byId("tip");
    box.replaceChildren(...lines.filter(Boolean).map((line) => element("div", {}, line)));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = x + 14 + width > innerWidth - 8 ? Math.max(8, x - 14 - width) : x + 14;
    const top = y + 14 + height > innerHeight - 8 ? Math.max(8, y - 14 - height) : y + 14;
    box.style.left = `${left}px`;
    box.style.top = `${top}px`;
  },
  hide() {
    byId("tip").hidden = true;
  },
};
