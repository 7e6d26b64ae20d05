"use strict";
// Sorting, searching, filtering and exporting of the tables; nothing is sent anywhere.
(() => {
  const value = (row, place) => {
    const cell = row.cells[place];
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b));

  const sort = (table, header) => {
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0], place = header.cellIndex;
    const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(value(a, place), value(b, place)));
    body.append(...rows);
    table.dispatchEvent(new Event("sorted"));
  };

  const labelled = (text, control) => {
    const label = document.createElement("label");
    label.append(text, control);
    return label;
  };

  const filters = (table, tools, refresh) => {
    const found = [];
    for (const header of table.tHead.rows[0].cells) {
      if (header.dataset.filter === undefined) continue;
      const place = header.cellIndex, select = document.createElement("select");
      const values = new Set([...table.tBodies[0].rows].map(row => row.cells[place].textContent.trim()));
      select.append(new Option("(all)", ""), ...[...values].sort().map(v => new Option(v, v)));
      select.addEventListener("change", refresh);
      tools.append(labelled(header.textContent.trim(), select));
      found.push(row => select.value === "" || row.cells[place].textContent.trim() === select.value);
    }
    return found;
  };

  const FEW = 8; // tables of at most this many rows get no search field
  const FIRST = 50; // rows that are shown before "Show all" is clicked

  const equip = table => {
    for (const header of table.tHead.rows[0].cells) {
      const button = header.querySelector("button");
      if (button) button.addEventListener("click", () => sort(table, header));
    }
    if (table.tBodies[0].rows.length <= FEW && table.dataset.export === undefined) return;
    const body = table.tBodies[0], tools = document.createElement("div");
    tools.className = "tools";
    table.closest(".scroll").before(tools);
    const search = document.createElement("input"), count = document.createElement("span");
    search.type = "search";
    count.className = "soft count";
    count.setAttribute("role", "status");
    const tests = [row => row.textContent.toLowerCase().includes(search.value.toLowerCase())];
    let most = FIRST;
    const more = document.createElement("button");
    more.type = "button";
    more.addEventListener("click", () => { most = Infinity; refresh(); });
    const refresh = () => {
      let fitting = 0;
      for (const row of body.rows) {
        const fits = tests.every(test => test(row));
        fitting += fits;
        row.classList.toggle("hidden", !fits || fitting > most);
      }
      count.textContent = `${Math.min(fitting, most)} of ${body.rows.length} shown`;
      more.textContent = `Show all ${fitting}`;
      more.classList.toggle("hidden", fitting <= most);
    };
    table.addEventListener("sorted", refresh);
    search.addEventListener("input", refresh);
    tools.append(labelled("search", search));
    tests.push(...filters(table, tools, refresh));
    if (table.dataset.export !== undefined) exports(table, tools);
    tools.append(more, count);
    refresh();
  };

  const chosen = table => {
    const seen = [...table.tBodies[0].rows].filter(row => !row.classList.contains("hidden"));
    const picked = seen.filter(row => row.querySelector("input:checked"));
    return (picked.length ? picked : seen).map(row => JSON.parse(row.dataset.row));
  };

  // An apostrophe keeps a spreadsheet from evaluating the text as a formula.
  const cell = text => {
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };

  // The score is a probability only if annotations calibrate it; the page names it.
  const csv = (rows, score) => {
    const names = ["id", "label", "suggested", "probability", "text", "text_pair", "right_label", "reviewer"];
    const lines = rows.map(row => names.map(name => cell(String(row[name] ?? ""))).join(","));
    const heads = names.map(name => name === "probability" ? score : name);
    return [heads.join(","), ...lines].join("\r\n") + "\r\n";
  };

  const studio = (rows, score) => JSON.stringify(rows.map(({probability, ...row}) => ({
    data: {...row, [score]: probability},
    // Preselected only where the suggested label is more probable than the given one.
    predictions: probability * row.confidence > 1 - probability ? [{
      score: probability, result: [{from_name: "right_label", to_name: "text",
        type: "choices", value: {choices: [row.suggested]}}]}] : [],
  })), null, 1);

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type}));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  };

  const exports = (table, tools) => {
    for (const [title, name, type, write] of [
      ["CSV", "review.csv", "text/csv", csv],
      ["Label Studio", "review.json", "application/json", studio],
    ]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `Export ${title}`;
      button.title = "Exports the selected rows, or all rows shown if none is selected";
      button.addEventListener("click", () => save(name, type, write(chosen(table), table.dataset.score)));
      tools.append(button);
    }
  };

  document.querySelectorAll("table.live").forEach(equip);
  const all = open => document.querySelectorAll("details").forEach(one => { one.open = open; });
  addEventListener("beforeprint", () => all(true));
})();
