// Rows of one configuration together, with mean and sample standard deviation of their results.

// columns: whose values the runs of a group share; null where nothing is grouped. place: a run's group, 0, 1, ... folded: groups that are closed.
const grouping = { columns: null, place: new Map(), folded: new Set() };
// Above so many rows groups begin closed.
const MOST_OPEN = 60;

function startGroups() {
  const select = byId("group");
  const distinct = (column) => new Set(ROWS.columns[column].values.map(comparable)).size;
  const candidates = ROWS.columns.map((_, column) => column).filter((column) => !isResult[column] && column !== ROWS.heads && distinct(column) > 1);
  const useful = candidates.filter((column) => distinct(column) < COUNT);
  const seed = candidates.find((column) => ROWS.columns[column].title === "seed");
  const choices = useful.map((column) => [String(column), ROWS.columns[column].title, [column]]);
  const others = useful.filter((column) => column !== seed);
  if (seed !== undefined && others.length > 1) choices.push(["seed", "all but seed", others]);
  select.append(element("option", { value: "" }, "nothing"), ...choices.map(([value, title]) => element("option", { value }, title)));
  const choose = () => {
    groupBy(choices.find(([value]) => value === select.value)?.[2] ?? null);
    arrange();
    shown.changed();
  };
  select.addEventListener("change", choose);
  select.closest("label").hidden = !choices.length;
  if (ROWS.group !== null) {
    const same = choices.find(([, , columns]) => String(columns) === String(ROWS.group));
    const [value, title, columns] = same ?? ["asked", ROWS.group.map((column) => ROWS.columns[column].title).join(", ") || "all runs", ROWS.group];
    if (!same) {
      choices.push([value, title, columns]);
      select.append(element("option", { value }, title));
      select.closest("label").hidden = false;
    }
    select.value = value;
    groupBy(columns);
  }
}

// Numbers are equal by value: 0.1 and 0.10 are one group.
const keyOf = (row) => JSON.stringify(grouping.columns.map((column) => comparable(ROWS.columns[column].values[row])));

function groupBy(columns) {
  grouping.columns = columns;
  grouping.place.clear();
  grouping.folded.clear();
  if (columns === null) return;
  const order = [...rows.keys()].sort(compareGroups);
  const places = new Map();
  for (const row of order) {
    const key = keyOf(row);
    if (!places.has(key)) places.set(key, places.size);
    grouping.place.set(row, places.get(key));
    if (COUNT > MOST_OPEN) grouping.folded.add(key);
  }
}

// [key, rows] of each group: best first where something is sorted by, each by what it shows itself.
function groupsOf(visible) {
  const groups = new Map();
  for (const row of visible) {
    const key = keyOf(row);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  const order = [...groups.entries()].sort(([, a], [, b]) => compareGroups(a[0], b[0]));
  const { column, descending } = view.sort ?? {};
  if (column === ROWS.heads) return descending ? order.reverse() : order;
  const by = column === undefined ? ROWS.sort : ROWS.columns[column];
  if (by === null) return order;
  const inOrder = ordering(by, descending ?? by.descending);
  const shows = new Map(order.map(([key, members]) => [key, by.numeric ? (meanOf(by, members).mean ?? null) : sharedBy(by, members)]));
  return order.sort(([a], [b]) => inOrder(shows.get(a), shows.get(b)));
}

// Rows of groups and, beneath each, its runs in the table's order; null where nothing is grouped.
function grouped(visible) {
  if (grouping.columns === null) return null;
  return groupsOf(visible).flatMap(([key, members]) => {
    const isOpen = !grouping.folded.has(key);
    for (const row of members) rows[row].hidden = !isOpen;
    return [groupRow(key, members, isOpen), ...members.map((row) => rows[row])];
  });
}

// What all runs of a group say, as the first of them writes it; null where they differ.
const sharedBy = ({ values }, members) => (new Set(members.map((row) => comparable(values[row]))).size === 1 ? values[members[0]] : null);

function compareGroups(one, other) {
  for (const column of grouping.columns) {
    const { numeric, values } = ROWS.columns[column];
    const found = ordering({ numeric }, false)(values[one], values[other]);
    if (found) return found;
  }
  return one - other;
}

// What the runs of a group share.
const nameOf = (row) => grouping.columns.map((column) => ROWS.columns[column].values[row] ?? MISSING).join(", ") || "all runs";

function fold(key, button) {
  if (!grouping.folded.delete(key)) grouping.folded.add(key);
  const place = [...body.querySelectorAll(".fold")].indexOf(button);
  arrange();
  body.querySelectorAll(".fold")[place]?.focus();
}

function groupRow(key, members, isOpen) {
  const cells = ROWS.columns.map((column, place) => {
    if (place === ROWS.heads) {
      const name = `${nameOf(members[0])} · ${many(members.length, "run")}`;
      // A long name is cut where its column ends.
      const button = element("button", { type: "button", class: "fold", title: name, "aria-expanded": String(isOpen), onclick: () => fold(key, button) }, name);
      return element("th", { scope: "row" }, button);
    }
    if (isResult[place] && column.numeric) return statistics(column, members);
    const same = sharedBy(column, members) === null ? "" : rows[members[0]].cells[place + 1].textContent;
    return element("td", { class: column.numeric ? "n" : null }, same);
  });
  return element("tr", { class: "group" }, element("td", { class: "tick" }), ...cells);
}

// Mean and s over the runs that have a number and did not diverge, in so many digits; no mean where there is none.
function meanOf(column, members) {
  const having = members.filter((row) => column.values[row] !== null);
  const sound = having.filter((row) => !column.diverged.includes(row) && Number.isFinite(asNumber(column.values[row])));
  const numbers = sound.map((row) => asNumber(column.values[row]));
  const count = numbers.length;
  const broken = having.length - count;
  if (!count) return { count, broken };
  // Steps and counts are whole; their mean is told with a digit.
  const digits = numbers.every(Number.isInteger) && sound.every((row) => column.decimals[row] === null) ? 1 : Math.max(...sound.map((row) => column.decimals[row] ?? 4));
  const mean = numbers.reduce((sum, number) => sum + number / count, 0);
  const s = count > 1 ? Math.sqrt(numbers.reduce((sum, number) => sum + (number - mean) ** 2, 0) / (count - 1)) : null;
  return { count, broken, mean, s, digits };
}

// Mean ± s; how many runs it is of stands beside it where it is not all.
function statistics(column, members) {
  const { count, broken, mean, s, digits } = meanOf(column, members);
  if (!count) return element("td", { class: "n" }, broken ? `${broken} diverged` : MISSING);
  const spread = s === null ? "" : ` ± ${s.toFixed(digits)}`;
  const of = count < members.length ? ` (n=${count} of ${members.length}${broken ? `, ${broken} diverged` : ""})` : "";
  const beside = (text, name) => (text ? element("span", { class: name }, text) : null);
  return element("td", { class: "n" }, mean.toFixed(digits), beside(spread, "std"), beside(of, "std of"));
}

// A line for each group: what its runs share, how many they are, and of each result mean, deviation and n; null where
// nothing is grouped.
function groupsAsWords(visible) {
  if (grouping.columns === null) return null;
  const columns = ROWS.columns.map((column, place) => ({ column, isMean: isResult[place] && column.numeric, place }));
  const shownColumns = columns.filter(({ place }) => place !== ROWS.heads);
  const head = ["group", "runs", ...shownColumns.flatMap(({ column: { title }, isMean }) => (isMean ? [title, `${title} s`, `${title} n`] : [title]))];
  const line = (members) => [
    nameOf(members[0]), String(members.length),
    ...shownColumns.flatMap(({ column, isMean, place }) => {
      if (!isMean) return [sharedBy(column, members) === null ? "" : column.numeric ? printed(column.values[members[0]], column.decimals[members[0]]) : rows[members[0]].cells[place + 1].textContent];
      const { count, mean, s, digits } = meanOf(column, members);
      return [count ? mean.toFixed(digits) : "", count && s !== null ? s.toFixed(digits) : "", String(count)];
    }),
  ];
  return [head, ...groupsOf(visible).map(([, members]) => line(members))];
}
