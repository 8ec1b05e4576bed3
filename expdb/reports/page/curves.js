// The curves: unpacked from the page; the charts, their legend, and what they share.

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
    if (Number.isNaN(values[start])) {
      start += 1;
      continue;
    }
    let end = start;
    const sums = [0];
    while (end < values.length && !Number.isNaN(values[end])) sums.push(sums[end - start] + values[end++]);
    for (let i = 0; i < end - start; i += 1) {
      const [low, high] = [Math.max(0, i - half), Math.min(end - start, i + half + 1)];
      means[start + i] = (sums[high] - sums[low]) / (high - low);
    }
    start = end;
  }
  return means;
}

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
  const dash = { solid: "", dashed: "5 3", dotted: "2 2", dotdash: "6 2 2 2" }[shown.dash(run)];
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
  if (grouping.columns === null) return runs.map((run) => [ROWS.names[run], [run]]);
  const groups = Map.groupBy ? Map.groupBy(runs, keyOf) : runs.reduce((found, run) => found.set(keyOf(run), [...(found.get(keyOf(run)) ?? []), run]), new Map());
  const ordered = [...groups.values()].sort(([a], [b]) => compareGroups(a, b));
  return ordered.map((members) => [`${nameOf(members[0])} (${members.length})`, members]);
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
    return element("button", attributes, swatch(runs[0]), element("span", { class: "name", title: name }, name));
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
  Bokeh.logger.set_level("error");
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
  await Promise.all(panels.map((panel) => panel.shown));
  const { documentElement: root } = document;
  let theme = null;
  // Paper is white.
  addEventListener("beforeprint", () => {
    const screen = palette();
    theme = root.getAttribute("data-theme");
    root.setAttribute("data-theme", "light");
    panels.forEach((panel) => panel.toPaper(screen));
  });
  addEventListener("afterprint", () => {
    if (theme === null) root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
    panels.forEach((panel) => panel.fromPaper());
  });
}
