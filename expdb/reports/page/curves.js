// The curves: unpacked from the page, drawn by plotly.js. Nothing that a log says is given to it as text.

let Plot = null;

async function inflated(id) {
  const packed = byId(id).textContent;
  const binary = atob(packed);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const numbers = (said) => (Array.isArray(said) ? said : Array.from({ length: said.e[2] }, (_, i) => said.e[0] + i * said.e[1]));

async function unpack() {
  const said = JSON.parse(await inflated("packed-curves"));
  const steps = said.steps.map(numbers);
  const metrics = said.metrics.map(([name, unit, better, counts]) => ({ name, unit, better, steps: counts, curves: new Map() }));
  const curves = said.curves.map(([run, metric, key, reported, at, values, lines, sources, decimals, count]) => ({
    run, metric, key, reported: Boolean(reported), x: steps[at], values, said: lines, sources, decimals, count,
  }));
  for (const curve of curves) metrics[curve.metric].curves.set(curve.run, curve);
  return { metrics, curves, runs: said.runs };
}

function placeOf(curve, index) {
  curve.lines ??= numbers(curve.said);
  let rest = index;
  for (const [count, source] of curve.sources) {
    if (rest < count) return place(source, curve.lines[index], curve.lines[index]);
    rest -= count;
  }
  return "";
}

// How many values a mean is of, for each stop of the slider.
const WINDOWS = [0, 3, 5, 9, 15, 25, 41, 65, 101, 201, 401];
let smoothing = 0;

// The mean of as many neighbours, half of them on either side, fewer at the ends; what is not finite parts, as in
// `expdb plot --smooth`.
function smoothed(values, width) {
  const half = Math.floor(width / 2);
  const means = [...values];
  for (let start = 0; start < values.length; ) {
    if (values[start] === null) {
      start += 1;
      continue;
    }
    let end = start;
    const sums = [0];
    while (end < values.length && values[end] !== null) sums.push(sums[end - start] + values[end++]);
    for (let i = 0; i < end - start; i += 1) {
      const [low, high] = [Math.max(0, i - half), Math.min(end - start, i + half + 1)];
      means[start + i] = (sums[high] - sums[low]) / (high - low);
    }
    start = end;
  }
  return means;
}

const panels = [];

class Panel {
  constructor(data, metric) {
    this.data = data;
    this.metric = metric;
    this.log = false;
    const options = data.metrics.map(({ name }, place) => element("option", { value: place, selected: place === metric }, name));
    this.select = element("select", { "aria-label": "Metric", onchange: () => { this.metric = Number(this.select.value); this.draw(); } }, ...options);
    this.logButton = element("button", { type: "button", "aria-pressed": "false", title: "Logarithmic axis", onclick: () => this.toggleLog() }, "log");
    const reset = element("button", { type: "button", title: "Show all again", class: "reset", onclick: () => this.reset() }, "Reset");
    const save = element("button", { type: "button", title: "Save as a picture", onclick: () => this.save() }, "SVG");
    const away = element("button", { type: "button", "aria-label": "Remove this chart", title: "Remove this chart", onclick: () => this.remove() }, "×");
    this.chart = element("div", { class: "chart", tabindex: "0", role: "application", "aria-roledescription": "chart", onkeydown: (event) => this.key(event), onblur: () => this.leave() });
    this.note = element("p", { class: "note" });
    this.figure = element("figure", { class: "panel" }, element("div", { class: "bar" }, this.select, element("span", { class: "gap" }), this.logButton, reset, save, away), this.chart, this.note);
    byId("panels").append(this.figure);
    this.at = null;
  }

  get described() {
    return this.data.metrics[this.metric];
  }

  draw() {
    const { curves, name, unit, steps } = this.described;
    const runs = [...shown.slots.keys()].filter((run) => !shown.muted.has(run));
    this.drawn = [];
    const faint = [];
    const lines = [];
    const ends = { x: [], y: [], colour: [] };
    const stated = [];
    let without = 0;
    let unseen = 0;
    for (const run of runs) {
      const curve = curves.get(run);
      if (!curve) { without += 1; continue; }
      if (curve.reported) { stated.push(curve); continue; }
      let ys = curve.values.map((value) => (typeof value === "number" ? value : null));
      const broken = ys.indexOf(null);
      if (this.log) {
        unseen += ys.filter((value) => value !== null && value <= 0).length;
        ys = ys.map((value) => (value !== null && value <= 0 ? null : value));
      }
      const colour = themed(shown.colour(run));
      if (broken > 0 && ys[broken - 1] !== null) {
        ends.x.push(curve.x[broken - 1]);
        ends.y.push(ys[broken - 1]);
        ends.colour.push(colour);
      }
      const line = { color: colour, width: 1.7, dash: shown.dash(run) };
      const mode = ys.filter((value) => value !== null).length < 3 ? "lines+markers" : "lines";
      const shape = { x: curve.x, mode, hoverinfo: "none", marker: { color: colour, size: 6 } };
      if (smoothing) faint.push({ ...shape, y: ys, line: { ...line, width: 1, dash: "solid" }, opacity: 0.22, hoverinfo: "skip" });
      const means = smoothing ? smoothed(ys, smoothing) : null;
      lines.push({ ...shape, y: means ?? ys, line });
      this.drawn.push({ curve, means });
    }
    // A number without a curve is a level across the others.
    const xs = this.drawn.flatMap(({ curve }) => [curve.x[0], curve.x.at(-1)]);
    const [least, most] = [Math.min(...xs), Math.max(...xs)];
    for (const curve of this.drawn.length ? stated : []) {
      const value = asNumber(curve.values[0]);
      if (!Number.isFinite(value) || (this.log && value <= 0)) continue;
      const level = { ...curve, x: [least, most], values: [curve.values[0], curve.values[0]], said: [curve.said[0], curve.said[0]], lines: null, sources: [[2, curve.sources[0][1]]] };
      lines.push({ x: level.x, y: [value, value], mode: "lines+markers", hoverinfo: "none", marker: { color: themed(shown.colour(curve.run)), size: 4 }, line: { color: themed(shown.colour(curve.run)), width: 1.2, dash: "longdash" } });
      this.drawn.push({ curve: level, means: null });
    }
    this.offset = faint.length;
    const marks = { x: ends.x, y: ends.y, mode: "markers", hoverinfo: "skip", marker: { symbol: "x-thin", size: 9, line: { color: ends.colour, width: 2 } } };
    this.said = [
      ends.x.length ? `× ${many(ends.x.length, "curve")} broke here: not finite from the next step on.` : "",
      without ? `${many(without, "run")} of those shown without ${name}.` : "",
      stated.length ? `– – ${many(stated.length, "value")} reported on a page, without a curve.` : "",
      unseen ? `${many(unseen, "value")} not above 0 cannot stand on a logarithmic axis.` : "",
    ].filter(Boolean).join(" ");
    this.note.textContent = this.said;
    this.chart.setAttribute("aria-label", `${name} over ${steps}, ${many(this.drawn.length, "line")}. Arrow keys read the values.`);
    const view = `${this.metric} ${this.log}`;
    this.at = null;
    tip.hide();
    Plot.react(this.chart, [...faint, ...lines, marks], this.layout(unit, steps, view), CONFIG);
    if (!this.listens) this.listen();
  }

  layout(unit, steps, view) {
    const axis = { gridcolor: themed("--line"), linecolor: themed("--firm"), zeroline: false, ticks: "outside", tickcolor: themed("--firm"), ticklen: 4, automargin: true };
    const widest = Math.max(0, ...this.drawn.map(({ curve }) => Math.abs((curve.x.at(-1) ?? 0) - (curve.x[0] ?? 0))));
    return {
      uirevision: view, datarevision: Math.random(), showlegend: false, hovermode: "closest", hoverdistance: 40,
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 46, r: 14, t: 10, b: 40 },
      font: { family: themed("--sans"), size: 12, color: themed("--soft") },
      xaxis: { ...axis, title: { text: steps, standoff: 6 }, showgrid: false, showline: true, tickformat: "~s", ...(widest < 10 ? { dtick: 1, tickformat: "" } : {}), ...(widest < 10000 ? { tickformat: "" } : {}) },
      yaxis: { ...axis, type: this.log ? "log" : "linear", ticksuffix: unit === "percent" ? "%" : "", exponentformat: "power", ...(this.log ? { dtick: undefined } : {}) },
    };
  }

  listen() {
    this.listens = true;
    this.chart.on("plotly_hover", ({ points }) => {
      const found = points.find((point) => this.drawn[point.curveNumber - this.offset]);
      if (found) this.say(found.curveNumber - this.offset, found.pointNumber);
    });
    this.chart.on("plotly_unhover", () => this.leave());
    new ResizeObserver(() => Plot.Plots.resize(this.chart)).observe(this.chart);
  }

  // What one point says, beside it.
  say(drawn, index) {
    const { curve, means } = this.drawn[drawn];
    const { name, unit, steps } = this.described;
    const { xaxis, yaxis } = this.chart._fullLayout;
    const box = this.chart.getBoundingClientRect();
    const value = asNumber(curve.values[index]);
    const height = means?.[index] ?? value;
    const x = box.left + xaxis._offset + xaxis.d2p(curve.x[index]);
    const y = Number.isFinite(height) ? box.top + yaxis._offset + yaxis.d2p(height) : box.top + box.height / 2;
    const at = curve.reported ? "as reported" : `at ${steps} ${curve.x[index]}`;
    const says = `${name} ${withUnit(printed(curve.values[index], curve.decimals), unit)} ${at}`;
    const mean = means && Number.isFinite(height) ? `mean of ${smoothing}: ${height.toPrecision(4)}` : "";
    tip.show(x, y, element("strong", {}, ROWS.names[curve.run]), element("span", { class: "value" }, says), mean, element("span", { class: "place" }, placeOf(curve, index)));
    near(curve.run);
    this.at = [drawn, index];
  }

  leave() {
    tip.hide();
    near(null);
  }

  // Left and right along a curve, up and down from curve to curve.
  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] }[event.key];
    if (event.key === "Escape") this.leave();
    if (!moves || !this.drawn.length) return;
    event.preventDefault();
    const clamp = (value, most) => Math.max(0, Math.min(most, value));
    const [drawn, index] = this.at ?? [0, 0];
    const next = this.at ? clamp(drawn + moves[0], this.drawn.length - 1) : 0;
    const last = this.drawn[next].curve.x.length - 1;
    this.say(next, this.at ? clamp(index + moves[1], last) : last);
  }

  toggleLog() {
    this.log = !this.log;
    this.logButton.setAttribute("aria-pressed", String(this.log));
    this.draw();
  }

  reset() {
    Plot.relayout(this.chart, { "xaxis.autorange": true, "yaxis.autorange": true });
  }

  save() {
    const name = `${document.title} ${this.described.name}`.replace(/[^\p{L}\p{N}.-]+/gu, "-");
    Plot.downloadImage(this.chart, { format: "svg", width: 800, height: 450, filename: name });
  }

  remove() {
    panels.splice(panels.indexOf(this), 1);
    Plot.purge(this.chart);
    this.figure.remove();
  }

  // Paper is white, and its width nobody knows: the picture is to fill it.
  toPaper() {
    this.draw();
    Plot.relayout(this.chart, { width: 680, height: 300 });
    for (const svg of this.chart.querySelectorAll(".main-svg")) svg.setAttribute("viewBox", "0 0 680 300");
  }

  fromPaper() {
    for (const svg of this.chart.querySelectorAll(".main-svg")) svg.removeAttribute("viewBox");
    Plot.relayout(this.chart, { autosize: true, width: null, height: null });
    this.draw();
  }

  // Lets the curves of some runs stand out; null: none.
  emphasise(runs) {
    if (!this.drawn || this.drawn.length > 60) return;
    const places = this.drawn.map((_, place) => place + this.offset);
    Plot.restyle(this.chart, { opacity: this.drawn.map(({ curve }) => (runs === null || runs.includes(curve.run) ? 1 : 0.15)) }, places);
  }
}

const CONFIG = { displayModeBar: false, displaylogo: false, scrollZoom: false, showTips: false, doubleClick: "reset" };

let nearRow = null;
function near(run) {
  nearRow?.classList.remove("near");
  nearRow = run === null ? null : rows[run];
  nearRow?.classList.add("near");
}

function drawAll() {
  for (const panel of panels) panel.draw();
}

function swatch(run) {
  const dash = { solid: "", dash: "5 3", dot: "2 2", dashdot: "6 2 2 2" }[shown.dash(run)];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ width: 18, height: 8, "aria-hidden": "true" })) svg.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ x1: 0, y1: 4, x2: 18, y2: 4, "stroke-width": 2.5, "stroke-dasharray": dash })) line.setAttribute(name, value);
  line.style.stroke = `var(${shown.colour(run)})`;
  svg.append(line);
  return svg;
}

// What a button of the legend stands for: a run, or the runs of a group that are shown.
function entries() {
  const runs = [...shown.slots.keys()];
  if (!grouping.columns.length) return runs.map((run) => [ROWS.names[run], [run]]);
  const groups = Map.groupBy ? Map.groupBy(runs, keyOf) : runs.reduce((found, run) => found.set(keyOf(run), [...(found.get(keyOf(run)) ?? []), run]), new Map());
  const ordered = [...groups.values()].sort(([a], [b]) => compareGroups(a, b));
  return ordered.map((members) => [`${grouping.columns.map((column) => ROWS.columns[column].values[members[0]] ?? MISSING).join(", ")} (${members.length})`, members]);
}

function legend() {
  const buttons = entries().map(([name, runs], place) => {
    const isMuted = runs.every((run) => shown.muted.has(run));
    const toggle = () => {
      for (const run of runs) {
        if (isMuted) shown.muted.delete(run);
        else shown.muted.add(run);
      }
      shown.changed();
      byId("legend").children[place]?.focus();
    };
    const attributes = {
      type: "button", "aria-pressed": String(!isMuted), onclick: toggle,
      onmouseenter: () => panels.forEach((panel) => panel.emphasise(runs)),
      onmouseleave: () => panels.forEach((panel) => panel.emphasise(null)),
    };
    return element("button", attributes, swatch(runs[0]), element("span", { class: "name" }, name));
  });
  byId("legend").replaceChildren(...buttons);
  const says = byId("shown");
  const count = shown.slots.size;
  const hint = count < COUNT ? element("span", { class: "hint" }, count >= MOST_SHOWN ? "; no more fit" : "; tick runs in the table to add them") : "";
  says.replaceChildren(count === COUNT ? `all ${COUNT.toLocaleString("en")}` : `showing ${count.toLocaleString("en")} of ${COUNT.toLocaleString("en")}`, hint);
}

// The first chart is how good the runs are, the second how they got there.
function firstMetrics({ metrics }) {
  const places = metrics.map((_, place) => place);
  const held = (place) => /^(test|val)\//.test(metrics[place].name);
  const first = places.find((place) => held(place) && metrics[place].better === "max") ?? places.find(held) ?? places.find((place) => metrics[place].better) ?? 0;
  const loss = (place) => place !== first && /loss/.test(metrics[place].name);
  const second = places.find((place) => loss(place) && metrics[place].name.startsWith("train/")) ?? places.find(loss) ?? places.find((place) => place !== first && metrics[place].better);
  return second === undefined ? [first] : [first, second];
}

async function startCurves() {
  const section = byId("curves");
  if (section.hidden) return;
  if (typeof DecompressionStream === "undefined") {
    byId("shown").textContent = "this browser is too old to unpack the curves; the table is all here";
    return;
  }
  // Both at a time: what unpacks is not what draws.
  const [data, library] = await Promise.all([unpacked, inflated("packed-library")]);
  const script = document.createElement("script");
  script.textContent = library;
  document.head.append(script);
  byId("packed-library").remove();
  Plot = window.Plotly;
  for (const metric of firstMetrics(data)) panels.push(new Panel(data, metric));
  byId("add-panel").addEventListener("click", () => {
    const taken = new Set(panels.map((panel) => panel.metric));
    const next = data.metrics.findIndex((_, place) => !taken.has(place));
    const panel = new Panel(data, next < 0 ? 0 : next);
    panels.push(panel);
    panel.draw();
    panel.select.focus();
  });
  byId("show-first").addEventListener("click", () => shown.replace(view.visible.slice(0, FIRST_SHOWN)));
  byId("show-none").addEventListener("click", () => shown.replace([]));
  byId("smooth").addEventListener("input", (event) => {
    smoothing = WINDOWS[event.target.value];
    byId("smooth-says").textContent = smoothing ? `mean of ${smoothing}` : "off";
    drawAll();
  });
  const redraw = () => { legend(); drawAll(); };
  shown.listeners.push(redraw);
  redraw();
  onTheme(drawAll);
  addEventListener("beforeprint", () => panels.forEach((panel) => panel.toPaper()));
  addEventListener("afterprint", () => panels.forEach((panel) => panel.fromPaper()));
}
