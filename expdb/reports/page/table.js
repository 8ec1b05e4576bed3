// The table: its order, what is searched and filtered, what a cell says of itself.

const table = byId("runs");
const body = table.tBodies[0];
const rows = [...body.rows];
const heads = [...table.tHead.rows[0].cells].slice(1);
const compareTexts = new Intl.Collator(ROWS.language, { numeric: true }).compare;

const view = { order: rows.map((_, row) => row), sort: null, search: [], filters: new Map() };
view.visible = view.order;

// A column's words for filters and search, as they stand in the table.
const texts = ROWS.columns.map(() => null);
function textsOf(column) {
  texts[column] ??= rows.map((row) => row.cells[column + 1].textContent.toLowerCase());
  return texts[column];
}

const isResult = ROWS.columns.map((_, column) => ROWS.origins.some((row) => row[column] !== null));

// Values in order: numbers before texts, and last, whichever way the others go, what is no number and what is missing.
function ordering({ numeric }, descending) {
  const meant = (value) => (value === null ? null : numeric ? asNumber(value) : comparable(value));
  const rank = (value) => (value === null ? 3 : Number.isNaN(value) ? 2 : typeof value === "string" ? 1 : 0);
  const way = descending ? -1 : 1;
  return (one, other) => {
    const [a, b] = [meant(one), meant(other)];
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    // Infinities are equal, though their difference is no number.
    if (rank(a) >= 2 || a === b) return 0;
    return (rank(a) === 1 ? compareTexts(a, b) : a - b) * way;
  };
}

function sorted() {
  const order = rows.map((_, row) => row);
  if (view.sort === null) return order;
  const { column, descending } = view.sort;
  const { values } = ROWS.columns[column];
  const inOrder = ordering(ROWS.columns[column], descending);
  return order.sort((one, other) => inOrder(values[one], values[other]) || one - other);
}

function sortBy(column) {
  const { better, numeric } = ROWS.columns[column];
  const first = numeric && better === "max";
  const now = view.sort;
  if (now === null || now.column !== column) view.sort = { column, descending: first };
  else if (now.descending === first) view.sort = { column, descending: !first };
  else view.sort = null;
  heads.forEach((head, place) => {
    const sort = view.sort?.column === place ? (view.sort.descending ? "descending" : "ascending") : "none";
    head.setAttribute("aria-sort", sort);
  });
  view.order = sorted();
  arrange();
}

// `> 0.9`, `0.1..0.5`, `= adam`, `! adam`, `—`, else a part of the text. null: it says nothing yet.
function filterOf(column, typed) {
  const text = typed.trim().toLowerCase();
  if (!text) return () => true;
  const values = ROWS.columns[column].values;
  const words = textsOf(column);
  if (text === MISSING || text === "missing") return (row) => values[row] === null;
  const number = (row) => (values[row] === null ? NaN : typeof values[row] === "string" && ROWS.columns[column].numeric === false ? Number(values[row]) : asNumber(values[row]));
  const range = /^(-?[\d.]+(?:e-?\d+)?)?\s*\.\.\s*(-?[\d.]+(?:e-?\d+)?)?$/.exec(text);
  if (range && (range[1] || range[2])) {
    const [low, high] = [range[1] ? Number(range[1]) : -Infinity, range[2] ? Number(range[2]) : Infinity];
    return (row) => number(row) >= low && number(row) <= high;
  }
  const compared = /^(<=|>=|!=|<|>|=|!)\s*(.*)$/.exec(text);
  if (!compared) return (row) => words[row].includes(text);
  const [, sign, wanted] = compared;
  if (!wanted) return null;
  const limit = Number(wanted);
  if (sign === "=" || sign === "!=" || sign === "!") {
    const same = sign === "!" ? (row) => words[row].includes(wanted) : (row) => words[row] === wanted || number(row) === limit;
    return sign === "=" ? same : (row) => values[row] !== null && !same(row);
  }
  if (Number.isNaN(limit)) return null;
  const holds = { "<": (v) => v < limit, ">": (v) => v > limit, "<=": (v) => v <= limit, ">=": (v) => v >= limit }[sign];
  return (row) => holds(number(row));
}

function matches(row) {
  for (const filter of view.filters.values()) if (!filter(row)) return false;
  return view.search.every((word) => ROWS.columns.some((_, column) => textsOf(column)[row].includes(word)));
}

// Puts the rows in their order and hides what does not match.
function arrange() {
  tip.hide();
  view.visible = view.order.filter(matches);
  const wanted = new Set(view.visible);
  rows.forEach((row, place) => {
    row.hidden = !wanted.has(place);
  });
  const groups = grouped(view.visible);
  const hidden = view.order.filter((row) => !wanted.has(row)).map((row) => rows[row]);
  const wantedRows = [...(groups ?? view.visible.map((row) => rows[row])), ...hidden];
  // To move a thousand rows takes longer than to see that they stand right.
  if (wantedRows.length !== body.rows.length || wantedRows.some((row, i) => body.rows[i] !== row)) body.replaceChildren(...wantedRows);
  if (!view.visible.length) {
    const says = element("td", { colspan: heads.length + 1 }, "No run matches. ", element("button", { type: "button", onclick: forget }, "Show all"));
    body.prepend(element("tr", { class: "empty" }, says));
  }
  const all = many(COUNT, "run");
  byId("counted").textContent = view.visible.length === COUNT ? all : `${view.visible.length.toLocaleString("en")} of ${all}`;
}

function forget() {
  view.search = [];
  view.filters.clear();
  byId("search").value = "";
  for (const input of document.querySelectorAll("#filters input")) {
    input.value = "";
    input.removeAttribute("aria-invalid");
  }
  arrange();
}

// Beneath the headings a field for each column, made when it is first wanted.
function filterRow() {
  const cells = ROWS.columns.map((column, place) => {
    const values = [...new Set(column.values.filter((value) => value !== null))];
    const few = values.length <= 30 && !isResult[place];
    const list = few ? element("datalist", { id: `values-${place}` }, ...values.map((value) => element("option", { value: `= ${value}` }))) : null;
    const hint = column.numeric ? "> 0.1" : "contains";
    const input = element("input", {
      type: "text", placeholder: hint, autocomplete: "off", spellcheck: "false", list: few ? `values-${place}` : null,
      "aria-label": `Filter ${column.title}: a part of the text, > 0.1, 0.1..0.5, = value, ! part or missing`,
      oninput: () => {
        const filter = filterOf(place, input.value);
        input.toggleAttribute("aria-invalid", false);
        if (filter === null) input.setAttribute("aria-invalid", "true");
        if (filter && input.value.trim()) view.filters.set(place, filter);
        else view.filters.delete(place);
        arrange();
      },
    });
    return element("th", {}, input, list);
  });
  return element("tr", { id: "filters", hidden: true }, element("th", { class: "tick" }), ...cells);
}

function toggleFilters() {
  const row = byId("filters");
  row.hidden = !row.hidden;
  byId("filter").setAttribute("aria-expanded", String(!row.hidden));
  const top = table.tHead.rows[0].getBoundingClientRect().height;
  for (const cell of row.cells) cell.style.top = `${top}px`;
  if (!row.hidden) row.querySelector("input").focus();
  else forget();
}

// What a number says when it is pointed at.
function sayOrigin(cell) {
  const row = rows.indexOf(cell.parentElement);
  const column = cell.cellIndex - 1;
  const origin = row < 0 ? null : ROWS.origins[row][column];
  if (!origin) return false;
  const [metric, step, source, first, last, count] = origin;
  const box = cell.getBoundingClientRect();
  const what = count > 1 ? `${metric}, ${count} values up to step ${step}` : step === null ? `${metric}, as reported` : `${metric} at step ${step}`;
  const where = element("span", { class: "place" }, place(source, first, last));
  const command = `expdb blame ${uidOf(row)} ${shellWord(metric)}${step === null || count > 1 ? "" : ` ${step}`}`;
  tip.show(box.right - 14, box.bottom - 10, element("strong", {}, ROWS.names[row]), what, where, element("span", { class: "place" }, command));
  return true;
}

// What is shown: the runs, or, where they are grouped, a line for each group.
function exportCsv() {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const cell = ({ values, numeric, decimals }, row) => {
    const value = values[row];
    if (value === null) return "";
    return numeric ? printed(value, decimals?.[row]) : String(value);
  };
  const runs = () => [ROWS.columns.map((column) => column.title), ...view.visible.map((row) => ROWS.columns.map((column) => cell(column, row)))];
  const lines = (groupsAsWords(view.visible) ?? runs()).map((line) => line.map(quoted));
  const blob = new Blob(["\ufeff", lines.map((line) => line.join(",")).join("\r\n"), "\r\n"], { type: "text/csv" });
  download(blob, `${document.title}.csv`);
}

// Arrow keys go from a run's name along the numbers that say where they stand, and from row to row.
function readCells(event) {
  const from = event.target.closest("td, th");
  const row = from?.parentElement;
  const seen = (one) => one && !one.hidden && rows.includes(one);
  const says = (cell) => Boolean(cell && ROWS.origins[rows.indexOf(cell.parentElement)]?.[cell.cellIndex - 1]);
  if (!seen(row) || from.cellIndex === 0) return;
  if (event.key === "Escape") { tip.hide(); return; }
  let cell = null;
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    const step = event.key === "ArrowRight" ? 1 : -1;
    for (cell = row.cells[from.cellIndex + step]; cell && cell.cellIndex > 0 && !says(cell) && !cell.querySelector("button.run");) cell = row.cells[cell.cellIndex + step];
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const next = (one) => (event.key === "ArrowDown" ? one.nextElementSibling : one.previousElementSibling);
    let other = next(row);
    while (other && !(seen(other) && (says(other.cells[from.cellIndex]) || from.querySelector("button.run")))) other = next(other);
    cell = other?.cells[from.cellIndex];
  }
  if (!cell || cell.cellIndex === 0) return;
  event.preventDefault();
  const wanted = cell.querySelector("button.run") ?? cell;
  if (wanted === cell) cell.tabIndex = -1;
  wanted.focus();
  if (wanted === cell) sayOrigin(cell);
}

function ticks() {
  rows.forEach((row, run) => {
    row.cells[0].firstElementChild.checked = shown.slots.has(run);
  });
}

function startTable() {
  table.tHead.append(filterRow());
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sortBy(column)));
  byId("search").addEventListener("input", (event) => {
    view.search = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    arrange();
  });
  byId("filter").addEventListener("click", toggleFilters);
  byId("csv").addEventListener("click", exportCsv);
  body.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("td.n");
    if (!cell || !sayOrigin(cell)) tip.hide();
  });
  body.addEventListener("mouseleave", () => tip.hide());
  body.addEventListener("keydown", readCells);
  body.addEventListener("focusout", () => tip.hide());
  byId("scroll").addEventListener("scroll", () => tip.hide(), { passive: true });
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.run");
    if (button) openDetails(rows.indexOf(button.closest("tr")));
  });
  body.addEventListener("change", (event) => {
    const run = rows.indexOf(event.target.closest("tr"));
    if (run < 0) return;
    if (event.target.checked) shown.add([run]);
    else shown.remove(run);
    shown.changed();
  });
  shown.listeners.push(ticks);
  startGroups();
  arrange();
}
