// Filters and reviewed row in the address, such as #suspects?given=pos&row=ID, one table at a time.
const readAddress = section => {
  const [name, ...rest] = location.hash.slice(1).split("?");
  return name === section && rest.length ? new URLSearchParams(rest.join("?")) : null;
};

const NO_REVIEW = {open: () => {}, close: () => {}, isOpen: false};

// The table of a section; `makeReview` gets what writes a reviewed row into the address.
const equipAddress = (view, makeReview = () => NO_REVIEW) => {
  const section = view.table.dataset.address;
  const rows = [...view.table.tBodies[0].rows].filter(row => row.dataset.row !== undefined);
  const byId = new Map(rows.map(row => [readRow(row).id, row]));
  const fields = new Map([["search", view.search], ...view.selects]);
  let applying = false;

  const write = (id, isNew) => {
    if (applying || (id === null && !readAddress(section) && ![...fields.values()].some(f => f.value))) return;
    const words = new URLSearchParams();
    for (const [name, field] of fields) if (field.value) words.set(name, field.value);
    if (id !== null) words.set("row", id);
    const hash = `#${section}${`${words}` && `?${words}`}`;
    if (hash === location.hash) return;
    try {
      if (isNew) history.pushState(null, "", hash); else history.replaceState(null, "", hash);
    } catch {
      // Some browsers limit how often an address changes; the page works without.
    }
  };
  const review = makeReview(write);
  const apply = () => {
    const words = readAddress(section), row = byId.get(words?.get("row"));
    applying = true;
    if (words) {
      for (const [name, field] of fields) {
        const value = words.get(name) ?? "";
        const isKnown = !field.options || [...field.options].some(option => option.value === value);
        field.value = isKnown ? value : "";
      }
      view.refresh();
    }
    if (row) review.open(row);
    else if (review.isOpen) review.close();
    else if (words) view.tools.scrollIntoView();
    applying = false;
  };
  for (const field of fields.values()) {
    field.addEventListener(field.options ? "change" : "input", () => write(null, false));
  }
  addEventListener("hashchange", apply);
  if (readAddress(section)) apply();
};
