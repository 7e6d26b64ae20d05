// A region of the map, whose training rows filter the tables.
const isInside = (polygon, x, y) => {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) inside = !inside;
  }
  return inside;
};

const measureSpan = polygon => Math.max(...[0, 1].map(axis => {
  const values = polygon.map(point => point[axis]);
  return Math.max(...values) - Math.min(...values);
}));

// Tables whose rows name their training rows; those with few rows have no view of their own.
const equipRowFilter = (views, clear) => {
  let rows = null; // positions of the selected training rows, as text
  const linked = new Map();
  for (const table of document.querySelectorAll("table.live")) {
    if (!table.querySelector("tr[data-train]")) continue;
    const note = document.createElement("p"), words = document.createElement("span");
    note.className = "map-note";
    note.hidden = true;
    note.append(words, " ", makeButton("Show all rows", clear));
    table.closest(".scroll").before(note);
    linked.set(table, {note, words, view: views.find(view => view.table === table)});
  }
  const isSelected = row => rows.has(row.dataset.train);
  conditions.push(row => rows === null || !linked.has(row.closest("table")) || isSelected(row));
  return selected => {
    rows = selected;
    let total = 0;
    for (const [table, {note, words, view}] of linked) {
      const all = [...table.tBodies[0].rows], count = rows ? all.filter(isSelected).length : 0;
      total += count;
      if (view) view.refresh();
      else for (const row of all) row.classList.toggle("hidden", rows !== null && !isSelected(row));
      note.hidden = rows === null;
      words.textContent = `${count} of ${all.length} rows lie in the region on the map.`;
    }
    return total;
  };
};
