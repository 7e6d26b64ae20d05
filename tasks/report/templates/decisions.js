// Decisions and ticks of the reviewer, kept in the browser until they are cleared.
const REVIEWER = "fastif reviewer";
const BLOCK = 25; // rows of which the precision is stated together

const openStorage = () => {
  try {
    localStorage.setItem("fastif probe", "");
    localStorage.removeItem("fastif probe");
    return localStorage;
  } catch {
    return null; // private mode, or files in some browsers
  }
};

const parseRecord = text => {
  try {
    const record = JSON.parse(text) ?? {};
    return ["decisions", "unsure", "ticks"].map(name => Array.isArray(record[name]) ? record[name] : []);
  } catch {
    return [[], [], []];
  }
};

// State of the review of one detection; `rows` are in order of rank, `words` the allowed decisions.
const makeDecisions = (key, rows, words) => {
  let storage = openStorage(), name = "";
  const ids = new Set(rows.map(row => row.id));
  // Identical rows with one label are decided together: one reviewer has one opinion of them.
  const twins = new Map(rows.map(row => [row.row, []]));
  for (const row of rows) twins.get(row.row).push(row.id);
  const state = {decisions: new Map(), unsure: new Set(), ticks: new Set()};
  const watchers = [];

  // Another tab may have changed the record, so it is read before each change.
  const load = () => {
    if (!storage) return;
    const [decisions, unsure, ticks] = parseRecord(storage.getItem(key));
    const valid = decisions.filter(pair => Array.isArray(pair) && ids.has(pair[0]) && words.includes(pair[1]));
    state.decisions = new Map(valid);
    state.unsure = new Set(unsure.filter(id => ids.has(id) && !state.decisions.has(id)));
    state.ticks = new Set(ticks.filter(id => ids.has(id)));
  };
  const write = (place, text) => {
    if (!storage) return;
    try {
      storage.setItem(place, text);
    } catch {
      storage = null; // full, or forbidden since
    }
  };
  const notify = () => watchers.forEach(watcher => watcher());
  const change = edit => {
    load();
    edit(state);
    write(key, JSON.stringify({
      decisions: [...state.decisions], unsure: [...state.unsure], ticks: [...state.ticks],
    }));
    notify();
  };

  load();
  name = storage?.getItem(REVIEWER) ?? "";
  addEventListener("storage", event => {
    if (event.key === key || event.key === null) { load(); notify(); }
  });
  // Without storage, closing the page loses the decisions; the browser asks first.
  addEventListener("beforeunload", event => {
    if (!storage && state.decisions.size) event.preventDefault();
  });
  return {
    rows,
    get isKept() { return storage !== null; },
    get reviewer() { return name; },
    set reviewer(text) { name = text; write(REVIEWER, text); },
    watch: watcher => watchers.push(watcher),
    read: id => state.decisions.get(id),
    isUnsure: id => state.unsure.has(id),
    isTicked: id => state.ticks.has(id),
    get size() { return state.decisions.size; },
    get unsure() { return state.unsure.size; },
    decide: (row, word) => change(() => {
      for (const id of twins.get(row.row)) { state.decisions.set(id, word); state.unsure.delete(id); }
    }),
    doubt: row => change(() => {
      for (const id of twins.get(row.row)) { state.decisions.delete(id); state.unsure.add(id); }
    }),
    tick: (some, on) => change(() => some.forEach(id => on ? state.ticks.add(id) : state.ticks.delete(id))),
    clear: () => change(() => { state.decisions.clear(); state.unsure.clear(); }),
  };
};

const countWrong = (kept, rows) => {
  const reviewed = rows.filter(row => kept.read(row.id) !== undefined);
  return [reviewed.length, reviewed.filter(row => kept.read(row.id) !== row.label).length];
};

const describeProgress = kept => {
  const [reviewed, wrong] = countWrong(kept, kept.rows);
  return `${reviewed} of ${kept.rows.length} reviewed, ${wrong} wrong`
    + (kept.unsure ? `, ${kept.unsure} unsure` : "");
};

// Wrong labels among the reviewed rows of each block in order of rank.
const describeBlocks = kept => {
  const blocks = [];
  for (let start = 0; start < kept.rows.length; start += BLOCK) {
    const rows = kept.rows.slice(start, start + BLOCK), [reviewed, wrong] = countWrong(kept, rows);
    const name = start ? `${start + 1} to ${start + rows.length}` : `first ${rows.length}`;
    if (reviewed) blocks.push(`${name}: ${wrong}${reviewed < rows.length ? ` of ${reviewed} reviewed` : ""} wrong`);
  }
  return blocks.join(" · ");
};
