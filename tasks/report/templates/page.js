// The page: every table, and the review of the table of suspicious labels.
const equipSuspects = view => {
  const {table} = view, rows = [...table.tBodies[0].rows];
  const words = [...JSON.parse(table.dataset.labels), table.dataset.none];
  const kept = makeDecisions(`fastif review ${table.dataset.review}`, rows.map(readRow), words);
  equipSelection(view, kept);
  equipAddress(view, onMove => {
    const review = equipReview(view, kept, onMove), start = document.getElementById("start-review");
    start.hidden = false;
    start.addEventListener("click", () => review.open());
    for (const row of rows) {
      row.querySelector(".rank").addEventListener("click", event => {
        event.preventDefault();
        review.open(row);
      });
    }
    return review;
  });
};

const views = [];
for (const table of document.querySelectorAll("table.live")) {
  const view = equipTable(table);
  if (view) views.push(view);
  if (table.dataset.export !== undefined) equipSuspects(view);
  else if (table.dataset.address !== undefined) equipAddress(view);
}
if (document.getElementById("map-canvas")) equipMap(views); // labels alone have no map
equipFolds();
