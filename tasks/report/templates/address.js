// Filters and reviewed row in the address, such as #suspects?given=pos&row=ID.
const SECTION = "suspects";

const readAddress = () => {
  const [section, ...rest] = location.hash.slice(1).split("?");
  return section === SECTION && rest.length ? new URLSearchParams(rest.join("?")) : null;
};

const equipAddress = (view, makeReview) => {
  const byId = new Map([...view.table.tBodies[0].rows].map(row => [readRow(row).id, row]));
  // A column whose name is taken gets another name in the address.
  const fields = new Map([["search", view.search]]);
  for (const [name, select] of view.selects) {
    fields.set(["search", "row"].includes(name) ? `${name}_` : name, select);
  }
  let applying = false;

  const write = (id, isNew) => {
    if (applying || (id === null && !readAddress() && ![...fields.values()].some(f => f.value))) return;
    const words = new URLSearchParams();
    for (const [name, field] of fields) if (field.value) words.set(name, field.value);
    if (id !== null) words.set("row", id);
    const hash = `#${SECTION}${`${words}` && `?${words}`}`;
    if (hash === location.hash) return;
    try {
      if (isNew) history.pushState(null, "", hash); else history.replaceState(null, "", hash);
    } catch {
      // Some browsers limit how often an address changes; the page works without.
    }
  };
  const review = makeReview(write);
  const apply = () => {
    const words = readAddress(), row = byId.get(words?.get("row"));
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
    else if (words) document.getElementById(SECTION).scrollIntoView();
    applying = false;
  };
  for (const field of fields.values()) {
    field.addEventListener(field.options ? "change" : "input", () => write(null, false));
  }
  addEventListener("hashchange", apply);
  if (readAddress()) apply();
};
