// A chart of one metric, drawn by Bokeh: all its lines are one glyph, so a thousand are drawn as fast as one.

const panels = [];
// Pixels from the pointer within which a point is meant.
const REACH = 30;

class Panel {
  constructor(data, metric) {
    this.data = data;
    this.metric = metric;
    this.log = false;
    this.lines = [];
    const options = data.metrics.map(({ name }, place) => element("option", { value: place, selected: place === metric }, name));
    this.select = element("select", { "aria-label": "Metric", onchange: () => this.choose(Number(this.select.value)) }, ...options);
    this.logButton = element("button", { type: "button", "aria-pressed": "false", title: "Logarithmic axis", onclick: () => this.toggleLog() }, "log");
    const reset = element("button", { type: "button", title: "Show all again", class: "reset", onclick: () => this.reset() }, "Reset");
    const save = element("button", { type: "button", title: "Save as a picture", onclick: () => this.save() }, "SVG");
    const away = element("button", { type: "button", "aria-label": "Remove this chart", title: "Remove this chart", onclick: () => this.remove() }, "×");
    this.chart = element("div", {
      class: "chart", tabindex: "0", role: "application", "aria-roledescription": "chart",
      onkeydown: (event) => this.key(event), onblur: () => this.leave(), ondblclick: () => this.reset(),
      onpointermove: (event) => this.point(event), onpointerdown: (event) => this.point(event), onpointerleave: () => this.leave(),
    });
    this.chart.pointAt = (line, step) => this.pointAt(line, step);
    this.note = element("p", { class: "note" });
    this.figure = element("figure", { class: "panel" }, element("div", { class: "bar" }, this.select, element("span", { class: "gap" }), this.logButton, reset, save, away), this.chart, this.note);
    byId("panels").append(this.figure);
    this.build();
  }

  get described() {
    return this.data.metrics[this.metric];
  }

  build() {
    const source = (names) => new Bokeh.ColumnDataSource({ data: Object.fromEntries(names.map((name) => [name, []])) });
    this.view?.remove();
    this.view = null;
    this.chart.replaceChildren();
    this.sources = { lines: source(["xs", "ys", "colour", "dash", "width", "alpha"]), ends: source(["x", "y", "colour"]), dots: source(["x", "y", "colour"]), here: source(["x", "y", "colour"]) };
    this.plot = Bokeh.Plotting.figure({
      sizing_mode: "stretch_both", toolbar_location: null, tools: [], min_border: 6, y_axis_type: this.log ? "log" : "linear",
      x_range: new Bokeh.Range1d({ start: 0, end: 1 }), y_range: new Bokeh.Range1d({ start: 0.1, end: 1 }),
      background_fill_color: null, border_fill_color: null, outline_line_color: null,
    });
    const field = (name) => ({ field: name });
    this.plot.multi_line({ xs: field("xs"), ys: field("ys"), line_color: field("colour"), line_dash: field("dash"), line_width: field("width"), line_alpha: field("alpha"), line_join: "round", source: this.sources.lines });
    this.plot.scatter({ x: field("x"), y: field("y"), marker: "x", size: 9, line_color: field("colour"), line_width: 2, source: this.sources.ends });
    this.plot.scatter({ x: field("x"), y: field("y"), marker: "circle", size: 5, line_color: null, fill_color: field("colour"), source: this.sources.dots });
    this.plot.scatter({ x: field("x"), y: field("y"), marker: "circle", size: 9, line_color: field("colour"), line_width: 2, fill_color: null, source: this.sources.here });
    this.plot.xaxis.ticker = new Bokeh.AdaptiveTicker({ mantissas: [1, 2, 5], min_interval: 1 });
    this.plot.xaxis.formatter = new Bokeh.NumeralTickFormatter({ format: "0,0" });
    // A finger that moves scrolls the page.
    if (!matchMedia("(pointer: coarse)").matches) this.plot.add_tools(new Bokeh.BoxZoomTool({}));
    this.all = null;
    this.shown = Bokeh.Plotting.show(this.plot, this.chart).then((view) => { this.view = view; });
  }

  // Colours and letters as the page has them.
  dress() {
    const { plot } = this;
    const [soft, line, firm, letters] = ["--soft", "--line", "--firm", "--sans"].map(themed);
    for (const axis of [plot.xaxis, plot.yaxis]) {
      Object.assign(axis, {
        axis_label_text_color: soft, axis_label_text_font: letters, axis_label_text_font_size: "12px", axis_label_text_font_style: "normal", axis_label_standoff: 6,
        major_label_text_color: soft, major_label_text_font: letters, major_label_text_font_size: "12px",
        axis_line_color: firm, major_tick_line_color: firm, major_tick_in: 0, major_tick_out: 4, minor_tick_line_color: null,
      });
    }
    plot.xgrid.grid_line_color = null;
    plot.ygrid.grid_line_color = line;
  }

  draw() {
    const { curves, name, unit, steps } = this.described;
    const runs = [...shown.slots.keys()].filter((run) => !shown.muted.has(run));
    this.lines = [];
    const stated = [];
    const ends = { x: [], y: [], colour: [] };
    let [without, unseen] = [0, 0];
    for (const run of runs) {
      const curve = curves.get(run);
      if (!curve) { without += 1; continue; }
      if (curve.reported) { stated.push(curve); continue; }
      let ys = curve.values.map((value) => (typeof value === "number" ? value : NaN));
      const broken = ys.findIndex(Number.isNaN);
      if (this.log) {
        unseen += ys.filter((value) => value <= 0).length;
        ys = ys.map((value) => (value <= 0 ? NaN : value));
      }
      const colour = themed(shown.colour(run));
      if (broken > 0 && !Number.isNaN(ys[broken - 1])) {
        ends.x.push(curve.x[broken - 1]);
        ends.y.push(ys[broken - 1]);
        ends.colour.push(colour);
      }
      this.lines.push({ curve, xs: curve.x, raw: ys, ys: smoothing ? smoothed(ys, smoothing) : ys, colour, dash: shown.dash(run), width: 1.7 });
    }
    // A number without a curve is a level across the others.
    const [least, most] = extremes(this.lines.flatMap(({ xs }) => [xs[0], xs.at(-1)]));
    for (const curve of this.lines.length ? stated : []) {
      const value = asNumber(curve.values[0]);
      if (!Number.isFinite(value) || (this.log && value <= 0)) continue;
      const level = { ...curve, values: [curve.values[0], curve.values[0]], said: [curve.said[0], curve.said[0]], lines: null, sources: [[2, curve.sources[0][1]]] };
      this.lines.push({ curve: level, xs: [least, most], raw: [value, value], ys: [value, value], colour: themed(shown.colour(curve.run)), dash: "dashed", width: 1.2 });
    }
    this.note.textContent = [
      ends.x.length ? `× ${many(ends.x.length, "curve")} broke here: not finite from the next step on.` : "",
      without ? `${many(without, "run")} of those shown without ${name}.` : "",
      stated.length ? `– – ${many(stated.length, "value")} reported on a page, without a curve.` : "",
      unseen ? `${many(unseen, "value")} not above 0 cannot stand on a logarithmic axis.` : "",
    ].filter(Boolean).join(" ");
    this.chart.setAttribute("aria-label", `${name} over ${steps}, ${many(this.lines.length, "line")}. Arrow keys read the values.`);
    this.at = null;
    this.leave();
    this.dress();
    this.plot.xaxis.axis_label = steps;
    this.plot.yaxis.axis_label = { percent: "%", s: "s", ms: "ms", min: "min", h: "h" }[unit] ?? "";
    // Beneath means, the values as they were.
    const faint = smoothing ? this.lines.map((line) => ({ ...line, ys: line.raw, width: 1, dash: "solid", alpha: 0.22 })) : [];
    const all = [...faint, ...this.lines];
    const column = (of) => all.map(of);
    this.sources.lines.data = { xs: column(({ xs }) => xs), ys: column(({ ys }) => ys), colour: column(({ colour }) => colour), dash: column(({ dash }) => dash), width: column(({ width }) => width), alpha: column(({ alpha }) => alpha ?? 1) };
    this.sources.ends.data = ends;
    const dots = this.lines.filter(({ ys }) => ys.filter(Number.isFinite).length === 1);
    const at = dots.map(({ ys }) => ys.findIndex(Number.isFinite));
    this.sources.dots.data = { x: dots.map(({ xs }, i) => xs[at[i]]), y: dots.map(({ ys }, i) => ys[at[i]]), colour: dots.map(({ colour }) => colour) };
    this.fit(all);
    Object.assign(this.chart.dataset, { lines: String(all.length), scale: this.log ? "log" : "linear", ink: themed("--soft") });
  }

  // Makes room for everything, unless the person has chosen a part.
  fit(all, anyway = false) {
    const { x_range, y_range } = this.plot;
    const was = this.all;
    const isZoomed = was && [x_range.start, x_range.end, y_range.start, y_range.end].some((value, i) => value !== was[i]);
    const [left, right] = extremes(all.flatMap(({ xs }) => xs));
    const [low, high] = extremes(all.flatMap(({ ys }) => ys));
    if (!Number.isFinite(left)) return;
    const side = left === right ? 0.5 : (right - left) * 0.01;
    const around = this.log ? (high / low) ** 0.04 || 1.1 : (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    this.all = [left - side, right + side, this.log ? low / Math.max(around, 1.02) : low - around, this.log ? high * Math.max(around, 1.02) : high + around];
    if (isZoomed && !anyway) return;
    [x_range.start, x_range.end, y_range.start, y_range.end] = this.all;
  }

  reset() {
    if (this.all) [this.plot.x_range.start, this.plot.x_range.end, this.plot.y_range.start, this.plot.y_range.end] = this.all;
  }

  choose(metric) {
    this.metric = metric;
    this.all = null;
    this.draw();
  }

  toggleLog() {
    this.log = !this.log;
    this.logButton.setAttribute("aria-pressed", String(this.log));
    this.build();
    this.draw();
  }

  // Where a point stands on the chart, in pixels.
  pixels(line, index) {
    const { x_scale, y_scale } = this.view.frame;
    const { xs, ys } = this.lines[line];
    return [x_scale.compute(xs[index]), y_scale.compute(ys[index])];
  }

  // The same on the screen, for whoever drives the page from outside.
  pointAt(line, step) {
    const box = this.chart.getBoundingClientRect();
    const [x, y] = this.pixels(line, this.lines[line].xs.indexOf(step));
    return [box.left + x, box.top + y];
  }

  // The point that is nearest to the pointer says what it is.
  point(event) {
    if (!this.view || event.buttons) return;
    const box = this.chart.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const { x_scale, y_scale } = this.view.frame;
    const [zero, one] = [x_scale.compute(0), x_scale.compute(1) - x_scale.compute(0)];
    let nearest = null;
    let least = REACH * REACH;
    this.lines.forEach(({ xs, ys }, line) => {
      for (let i = 0; i < xs.length; i += 1) {
        const across = zero + xs[i] * one - x;
        if (across > REACH || across < -REACH || Number.isNaN(ys[i])) continue;
        const found = across * across + (y_scale.compute(ys[i]) - y) ** 2;
        if (found < least) [least, nearest] = [found, [line, i]];
      }
    });
    if (nearest) this.say(...nearest);
    else this.leave();
  }

  say(line, index) {
    const { curve, xs, ys, raw, colour } = this.lines[line];
    const { name, unit, steps } = this.described;
    const box = this.chart.getBoundingClientRect();
    const isThere = Number.isFinite(ys[index]);
    const [x, y] = isThere ? this.pixels(line, index) : [this.view.frame.x_scale.compute(xs[index]), box.height / 2];
    const at = curve.reported ? "as reported" : `at ${steps} ${xs[index]}`;
    const says = `${name} ${withUnit(printed(curve.values[index], curve.decimals), unit)} ${at}`;
    const mean = raw !== ys && isThere ? `mean of ${smoothing}: ${ys[index].toPrecision(4)}` : "";
    tip.show(box.left + x, box.top + y, element("strong", {}, ROWS.names[curve.run]), element("span", { class: "value" }, says), mean, element("span", { class: "place" }, placeOf(curve, index)));
    this.sources.here.data = isThere ? { x: [xs[index]], y: [ys[index]], colour: [colour] } : { x: [], y: [], colour: [] };
    near(curve.run);
    this.at = [line, index];
  }

  leave() {
    tip.hide();
    near(null);
    if (this.sources.here.data.x?.length) this.sources.here.data = { x: [], y: [], colour: [] };
  }

  // Left and right along a curve, up and down from curve to curve.
  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] }[event.key];
    if (event.key === "Escape") this.leave();
    if (!moves || !this.lines.length || !this.view) return;
    event.preventDefault();
    const clamp = (value, most) => Math.max(0, Math.min(most, value));
    const [line, index] = this.at ?? [0, 0];
    const next = this.at ? clamp(line + moves[0], this.lines.length - 1) : 0;
    const last = this.lines[next].xs.length - 1;
    this.say(next, this.at ? clamp(index + moves[1], last) : last);
  }

  // The chart as a picture of lines, not of pixels.
  picture() {
    const layer = this.view.export("svg", false);
    return new XMLSerializer().serializeToString(layer.canvas.nodeName === "svg" ? layer.canvas : layer.ctx.get_svg());
  }

  save() {
    const name = `${document.title} ${this.described.name}`.replace(/[^\p{L}\p{N}.-]+/gu, "-");
    download(new Blob([this.picture()], { type: "image/svg+xml" }), `${name}.svg`);
  }

  // Paper has another width, and no pixels. Lines take a new colour at the next frame, for which paper does not wait:
  // screen has their colours as the screen has them.
  toPaper(screen) {
    this.draw();
    let svg = this.picture();
    const onPaper = palette();
    screen.forEach((colour, place) => { svg = svg.replaceAll(`"${inRgb(colour)}"`, `"${onPaper[place]}"`); });
    const src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    this.chart.after(element("img", { class: "on-paper", alt: this.chart.getAttribute("aria-label"), src }));
  }

  fromPaper() {
    for (const picture of this.figure.querySelectorAll(".on-paper")) picture.remove();
    this.draw();
  }

  remove() {
    panels.splice(panels.indexOf(this), 1);
    this.view?.remove();
    this.figure.remove();
  }

  // Lets the curves of some runs stand out; null: none.
  emphasise(runs) {
    const { data } = this.sources.lines;
    const faint = data.xs.length - this.lines.length;
    const alpha = data.alpha.map((was, i) => (i < faint ? was : runs === null || runs.includes(this.lines[i - faint].curve.run) ? 1 : 0.12));
    this.sources.lines.data = { ...data, alpha };
  }
}

const palette = () => Array.from({ length: COLOURS }, (_, place) => themed(`--c${place}`));
const inRgb = (hex) => `rgb(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",")})`;

// The least and the greatest; not by `Math.min(...)`, which takes no hundred thousand.
function extremes(numbers) {
  let [least, most] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number < least) least = number;
    if (number > most) most = number;
  }
  return [least, most];
}
