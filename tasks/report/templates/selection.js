// Ticks of the rows, and the export of ticked, reviewed or all rows; nothing is sent anywhere.
const parsed = new WeakMap();
const readRow = row => {
  if (!parsed.has(row)) parsed.set(row, JSON.parse(row.dataset.row));
  return parsed.get(row);
};

// An apostrophe keeps a spreadsheet from evaluating the text as a formula.
const formatCell = text => {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
};

// The score is a probability only if annotations calibrate it; the page names it.
const formatCsv = (rows, score) => {
  const names = ["id", "label", "suggested", "probability", "text", "text_pair", "row", "right_label", "reviewer"];
  const lines = rows.map(row => names.map(name => formatCell(String(row[name] ?? ""))).join(","));
  const heads = names.map(name => name === "probability" ? score : name);
  return [heads.join(","), ...lines].join("\r\n") + "\r\n";
};

// Preselected is the decision, else the suggested label where it is more probable than the given one.
const formatTasks = (rows, score) => JSON.stringify(rows.map(
  ({probability, right_label: decision, reviewer, ...row}) => {
    const likely = probability * row.confidence > 1 - probability ? row.suggested : null;
    const choice = decision || likely;
    return {
      data: {...row, [score]: probability},
      predictions: choice ? [{
        score: decision ? 1 : probability, result: [{from_name: "right_label", to_name: "text",
          type: "choices", value: {choices: [choice]}}]}] : [],
    };
  }), null, 1);

const saveFile = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
};

// Rows as they are exported, with the decisions.
const exportRows = (rows, kept) => rows.map(readRow).map(row => {
  const decision = kept.read(row.id) ?? "";
  return {...row, right_label: decision, reviewer: decision && kept.reviewer.trim()};
});

const FORMATS = [
  ["CSV", "review.csv", "text/csv", formatCsv],
  ["Label Studio", "review.json", "application/json", formatTasks],
];

const exportFile = (rows, kept, table, [, name, type, format]) =>
  saveFile(name, type, format(exportRows(rows, kept), table.dataset.score));

const describeDecision = (row, kept, none) => {
  const word = kept.read(row.id);
  if (word === undefined) return kept.isUnsure(row.id) ? "unsure" : "";
  return word === row.label ? "right" : word === none ? "no class fits" : `→ ${showText(word)}`;
};

const equipSelection = (view, kept) => {
  const {table, tools} = view, body = table.tBodies[0];
  const every = document.createElement("input"), note = document.createElement("span");
  every.type = "checkbox";
  every.setAttribute("aria-label", "select all rows shown");
  table.tHead.rows[0].cells[0].append(document.createElement("br"), every);
  note.className = "soft count";
  note.setAttribute("role", "status");
  const ids = new Map([...body.rows].map(row => [row, readRow(row).id]));
  const box = row => row.cells[0].querySelector("input");
  const ticked = () => [...body.rows].filter(row => kept.isTicked(ids.get(row)));
  const reviewed = () => [...body.rows].filter(row => kept.read(ids.get(row)) !== undefined);
  const shown = () => [...body.rows].filter(row => !row.classList.contains("hidden"));

  const chosen = () => {
    const picked = ticked(), decided = reviewed();
    return picked.length ? picked : decided.length ? decided : [...body.rows];
  };
  const describe = () => {
    const picked = ticked(), away = picked.filter(row => row.classList.contains("filtered")).length;
    if (picked.length) return `${picked.length} selected${away ? `, ${away} hidden by the filter` : ""}`;
    const decided = reviewed().length;
    return `none selected: exports ${decided ? `the ${decided} reviewed rows` : `all ${body.rows.length} rows`}`;
  };
  const refresh = () => {
    for (const [row, id] of ids) {
      box(row).checked = kept.isTicked(id);
      row.cells[0].querySelector(".decision").textContent = describeDecision(readRow(row), kept, table.dataset.none);
    }
    const visible = shown(), on = visible.filter(row => kept.isTicked(ids.get(row))).length;
    every.checked = on > 0 && on === visible.length;
    every.indeterminate = on > 0 && on < visible.length;
    note.textContent = describe();
  };
  for (const [row, id] of ids) {
    const mark = document.createElement("span");
    mark.className = "decision";
    row.cells[0].append(mark);
    box(row).addEventListener("change", event => kept.tick([id], event.target.checked));
  }
  every.addEventListener("change", () => kept.tick(shown().map(row => ids.get(row)), every.checked));
  const formats = table.dataset.none === undefined ? FORMATS.slice(0, 1) : FORMATS; // tasks are of one class
  for (const format of formats) {
    view.more.before(makeButton(`Export ${format[0]}`, () => exportFile(chosen(), kept, table, format)));
  }
  view.more.before(makeButton("Clear selection", () => kept.tick([...ids.values()], false)));
  tools.append(note);
  table.addEventListener("shown", refresh);
  kept.watch(refresh);
  refresh();
};
