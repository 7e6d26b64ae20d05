// Folded parts that an address points into are opened: #quality-outliers, or the findings of #quality.
const openFolds = address => {
  const target = document.getElementById(address.slice(1).split("?")[0]);
  if (!target) return;
  const folds = [...document.querySelectorAll("details")].filter(fold => fold.contains(target));
  const section = target.tagName === "H2" && target.closest("section");
  if (section) folds.push(...section.querySelectorAll("details[data-finding]"));
  if (folds.every(fold => fold.open)) return;
  for (const fold of folds) fold.open = true;
  target.scrollIntoView();
};

const equipFolds = () => {
  addEventListener("hashchange", () => openFolds(location.hash));
  // A link to the present address changes nothing, yet its part may have been folded since.
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", () => openFolds(link.hash));
  }
  openFolds(location.hash);
};
