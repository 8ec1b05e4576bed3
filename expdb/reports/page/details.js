// One run: everything that is known of it, and where each number stands.

async function openDetails(run) {
  tip.hide();
  const dialog = byId("details");
  const data = await unpacked;
  const [experiment, status, origin, note, params, tags] = data.runs[run];
  const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const about = `${experiment} · ${status} · ${origin === "log" || origin === "page" ? `from a ${origin}` : origin} · ${uidOf(run)}`;
  const top = element("div", { class: "top" }, element("div", {}, element("h2", { id: "details-title" }, ROWS.names[run]), element("p", {}, about)), close);
  const parts = element("div", { class: "body" });
  if (note) parts.append(element("h3", {}, "Note"), element("p", {}, note));
  if (params.length) parts.append(element("h3", {}, "Params"), words(params));
  const curves = data.curves.filter((curve) => curve.run === run);
  if (curves.length) parts.append(element("h3", {}, "Results, and where they stand"), results(data, curves));
  if (tags.length) parts.append(element("h3", {}, "Tags"), words(tags));
  parts.append(element("h3", {}, "In the terminal"), element("code", {}, `expdb show ${uidOf(run)}`));
  dialog.replaceChildren(top, parts);
  dialog.showModal();
}

const words = (pairs) => element("dl", {}, ...pairs.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]));

function results(data, curves) {
  const head = element("thead", {}, element("tr", {}, ...["Metric", "Which", "Value", "At", "File and line"].map((title) => element("th", { scope: "col", class: title === "Value" ? "n" : null }, title))));
  const lines = curves.flatMap((curve) => {
    const { name, unit, better, steps } = data.metrics[curve.metric];
    const said = chosen(curve, better).map(([rule, place]) => [rule, place]);
    return said.map(([rule, index], place) => {
      const at = curve.x[index] === null ? MISSING : `${steps} ${curve.x[index]}`;
      const value = withUnit(printed(curve.values[index], curve.decimals), unit);
      return element("tr", {},
        element("th", { scope: "row" }, place ? "" : name), element("td", {}, rule), element("td", { class: "n" }, value),
        element("td", {}, at), element("td", { class: "place" }, placeOf(curve, index)));
    });
  });
  return element("div", { class: "wide" }, element("table", {}, head, element("tbody", {}, ...lines)));
}

// [rule, index of the point]: the last, and the best where it is known which way is better.
function chosen(curve, better) {
  if (curve.reported) return [["reported", 0]];
  let last = 0;
  let best = null;
  curve.x.forEach((step, index) => {
    if (step >= curve.x[last]) last = index;
    const value = asNumber(curve.values[index]);
    if (Number.isNaN(value)) return;
    const held = best === null ? null : asNumber(curve.values[best]);
    if (held === null || (better === "max" ? value > held : value < held)) best = index;
  });
  return better && best !== null ? [["last", last], ["best", best]] : [["last", last]];
}
