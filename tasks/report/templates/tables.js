// Sorting, searching and filtering of the tables.
const readValue = (row, place) => {
  const cell = row.cells[place];
  return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
};
const compareValues = (a, b) => typeof a === "number" && typeof b === "number"
  ? a - b : String(a).localeCompare(String(b));

const sortTable = (table, header) => {
  const current = header.getAttribute("aria-sort");
  const up = current ? current !== "ascending" : header.dataset.first !== "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0], place = header.cellIndex;
  const rows = [...body.rows].sort(
    (a, b) => (up ? 1 : -1) * compareValues(readValue(a, place), readValue(b, place)));
  body.append(...rows);
  table.dispatchEvent(new Event("sorted"));
};

const makeButton = (text, click) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", click);
  return button;
};

const makeLabelled = (text, control) => {
  const label = document.createElement("label");
  label.append(text, control);
  return label;
};

// Values of a cell that a filter selects: its marked parts, or all of its text.
const readWords = cell => {
  const parts = [...cell.querySelectorAll("[data-value]")];
  return (parts.length ? parts : [cell]).map(part => part.textContent.trim()).filter(word => word);
};

// Filters of the columns that have one, by a name that is unique in the table and its address.
const addFilters = (table, tools, refresh) => {
  const selects = new Map();
  for (const header of table.tHead.rows[0].cells) {
    if (header.dataset.filter === undefined) continue;
    const place = header.cellIndex, select = document.createElement("select");
    const words = new Map([...table.tBodies[0].rows].map(row => [row, readWords(row.cells[place])]));
    select.append(new Option("(all)", ""), ...[...new Set([...words.values()].flat())].sort().map(v => new Option(v, v)));
    select.addEventListener("change", refresh);
    select.fits = row => select.value === "" || words.get(row).includes(select.value);
    tools.append(makeLabelled(header.textContent.trim(), select));
    let name = header.textContent.trim();
    while (selects.has(name) || ["search", "row"].includes(name)) name += "_";
    selects.set(name, select);
  }
  return selects;
};

const conditions = []; // of the rows of all tables, such as the region on the map
// A narrow screen shows each row as a card, whose cells need the names of their columns.
const labelCells = table => {
  const names = [...table.tHead.rows[0].cells].map(header => header.textContent.trim());
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, place) => { cell.dataset.name = names[place]; });
  }
  table.classList.add("cards");
};

const FEW = 12; // tables of at most this many rows get no search field
// Rows that are shown at first, and added by "Show more"; cards of a narrow screen are long.
const STEP = matchMedia("(max-width: 40rem)").matches ? 10 : 25;

// A row that does not fit the filters is `filtered`; it and those after the first ones are `hidden`.
const equipTable = table => {
  for (const header of table.tHead.rows[0].cells) {
    const button = header.querySelector("button");
    if (button) button.addEventListener("click", () => sortTable(table, header));
  }
  labelCells(table);
  if (table.tBodies[0].rows.length <= FEW && table.dataset.address === undefined) return null;
  const body = table.tBodies[0], tools = document.createElement("div");
  tools.className = "tools";
  table.closest(".scroll").before(tools);
  const search = document.createElement("input"), count = document.createElement("span");
  search.type = "search";
  count.className = "soft count";
  count.setAttribute("role", "status");
  let most = STEP;
  const next = makeButton("", () => { most += STEP; refresh(); });
  const more = makeButton("", () => { most = Infinity; refresh(); });
  const refresh = () => {
    const word = search.value.toLowerCase(), filters = [...selects.values()];
    let fitting = 0;
    for (const row of body.rows) {
      const fits = row.textContent.toLowerCase().includes(word) && filters.every(f => f.fits(row))
        && conditions.every(condition => condition(row));
      fitting += fits;
      row.classList.toggle("filtered", !fits);
      row.classList.toggle("hidden", !fits || fitting > most);
    }
    count.textContent = `${Math.min(fitting, most)} of ${body.rows.length} shown`;
    next.textContent = `Show ${Math.min(STEP, fitting - most)} more`;
    next.classList.toggle("hidden", fitting <= most + STEP);
    more.textContent = `Show all ${fitting}`;
    more.classList.toggle("hidden", fitting <= most);
    table.dispatchEvent(new Event("shown"));
  };
  tools.append(makeLabelled("search", search));
  const selects = addFilters(table, tools, refresh);
  table.addEventListener("sorted", refresh);
  search.addEventListener("input", refresh);
  tools.append(next, more, count);
  refresh();
  return {table, tools, search, selects, refresh, more: next};
};
