// Review of one row at a time, by buttons or keys.
const showText = text => text.replace(
  /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu,
  c => "\n\t\u200d".includes(c) ? c : `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

const MAX_KEYS = 9;

// Name of a key; by its position for digits that need Shift, and for other alphabets than the Latin one.
const nameKey = event => {
  const isPlaced = event.code.startsWith("Digit") ? !event.shiftKey : /^[^\x00-\x7f]/.test(event.key);
  return (isPlaced ? event.code.replace(/^(Digit|Key)/, "") : event.key).toLowerCase();
};

// A decision on one label of several is shown with the name of the label.
const nameWord = (row, word) => row.name === undefined ? showText(word) : `${showText(row.name)}: ${showText(word)}`;

// A button whose `choice` is a decision, or a function that returns the decision on this row.
const makeChoice = (key, text, click, label) => {
  const button = makeButton("", click), mark = document.createElement("kbd"), name = document.createElement("bdi");
  mark.textContent = key;
  name.textContent = text;
  button.choice = label;
  button.dataset.key = key;
  button.append(mark, " ", name);
  return button;
};

// The dialog shows `current`, one of `queue`: the rows that fit the filter, in the table's order.
const equipReview = (view, kept, onMove) => {
  const {table} = view, dialog = document.getElementById("review"), body = table.tBodies[0];
  const labels = JSON.parse(table.dataset.labels), none = table.dataset.none;
  const total = kept.rows.length;
  const part = name => dialog.querySelector(`[data-part="${name}"]`);
  let queue = [], current = null, row = null;

  const readRank = () => current.querySelector(".rank").textContent;
  const copyCell = (name, source) => {
    const cell = current.querySelector(`[data-cell="${source}"]`);
    const nodes = cell ? [...cell.childNodes].map(node => node.cloneNode(true)) : [];
    part(name).replaceChildren(...nodes);
    part(name).previousElementSibling.hidden = part(name).hidden = part(name).textContent.trim() === "";
  };
  const drawScore = () => {
    const meter = current.querySelector(".meter")?.cloneNode(true), words = [];
    if (!meter || table.dataset.score === "probability") {
      words.push(current.querySelector('[data-cell="score"]').firstChild.textContent.trim(), " ");
    }
    part("score").replaceChildren(...words, ...(meter ? [meter] : []));
  };
  const drawProgress = () => {
    for (const place of document.querySelectorAll(".progress")) place.textContent = describeProgress(kept);
    for (const place of document.querySelectorAll(".blocks")) place.textContent = describeBlocks(kept);
    for (const place of document.querySelectorAll(".unkept")) place.hidden = kept.isKept;
    part("clear").disabled = kept.size + kept.unsure === 0;
    part("export").disabled = kept.size === 0;
    if (!row) return;
    part("decision").textContent = describeDecision(row, kept, none) || "none yet";
    const word = kept.read(row.id) ?? (kept.isUnsure(row.id) ? null : undefined);
    for (const button of dialog.querySelectorAll("button")) {
      if (button.choice === undefined) continue;
      const choice = typeof button.choice === "function" ? button.choice() : button.choice;
      button.setAttribute("aria-pressed", String(choice === word));
    }
  };
  const draw = () => {
    const place = queue.indexOf(current);
    part("place").textContent = `Rank ${readRank()}, row ${place + 1} of ${queue.length}`
      + (queue.length < total ? " that fit the filter" : "");
    part("id").textContent = showText(row.id);
    const images = current.querySelectorAll(":scope > td:not([data-cell]) img.thumb");
    part("image").replaceChildren(...[...images].map(image => image.cloneNode()));
    part("image").hidden = images.length === 0;
    part("text").textContent = showText(row.text);
    part("pair").textContent = showText(row.text_pair);
    part("pair").parentElement.hidden = row.text_pair === "";
    part("given").textContent = nameWord(row, row.label);
    part("suggested").textContent = nameWord(row, row.suggested);
    dialog.querySelector('[data-key="K"] bdi').textContent = `keep ${nameWord(row, row.label)}`;
    dialog.querySelector('[data-key="S"] bdi').textContent = `suggested: ${nameWord(row, row.suggested)}`;
    drawScore();
    copyCell("near", "near");
    copyCell("harms", "harms");
    part("previous").disabled = place <= 0;
    part("next").disabled = place >= queue.length - 1;
    drawProgress();
    part("body").scrollTop = 0;
  };
  const show = next => {
    current = next;
    row = readRow(current);
    draw();
  };
  const move = step => {
    const next = queue[queue.indexOf(current) + step];
    if (!next) return;
    show(next);
    onMove(row.id, false);
  };
  const say = text => { part("status").textContent = text; };
  const act = (word, text) => {
    const rank = readRank(), isLast = queue.at(-1) === current;
    if (word === null) kept.doubt(row); else kept.decide(row, word);
    say(`Rank ${rank}: ${text}.${isLast ? " That was the last row." : ""}`);
    move(1);
  };
  const actions = {
    k: () => act(row.label, "given label kept"),
    s: () => act(row.suggested, `changed to ${showText(row.suggested)}`),
    n: () => act(none, "no class fits"),
    u: () => act(null, "unsure, stays unreviewed"),
    p: () => move(-1), arrowleft: () => move(-1),
    j: () => move(1), arrowright: () => move(1),
  };
  if (none === undefined) delete actions.n; // one label of several has no other value
  const choose = label => act(label, label === row.label ? "given label kept" : `changed to ${showText(label)}`);
  labels.slice(0, MAX_KEYS).forEach((label, place) => { actions[place + 1] = () => choose(label); });

  const addChoices = () => {
    part("verdicts").append(
      makeChoice("K", "keep", actions.k, () => row.label),
      makeChoice("S", "suggested", actions.s, () => row.suggested),
      ...(none === undefined ? [] : [makeChoice("N", "no class fits", actions.n, none)]),
      makeChoice("U", "unsure", actions.u, null));
    part("classes").append(...labels.slice(0, MAX_KEYS).map(
      (label, place) => makeChoice(String(place + 1), showText(label), () => choose(label), label)));
    if (labels.length <= MAX_KEYS) return;
    const select = document.createElement("select");
    select.append(new Option("(choose)", ""), ...labels.slice(MAX_KEYS).map(label => new Option(showText(label), label)));
    select.addEventListener("change", () => {
      const place = select.selectedIndex - 1 + MAX_KEYS;
      if (place >= MAX_KEYS) choose(labels[place]);
      select.selectedIndex = 0;
    });
    part("classes").append(makeLabelled("other class", select));
  };

  const open = (start = null) => {
    const fitting = [...body.rows].filter(each => !each.classList.contains("filtered"));
    queue = fitting.length && (!start || fitting.includes(start)) ? fitting : [...body.rows];
    const isOpen = each => kept.read(readRow(each).id) === undefined && !kept.isUnsure(readRow(each).id);
    say("");
    show(start ?? queue.find(isOpen) ?? queue[0]);
    onMove(row.id, !dialog.open);
    if (dialog.open) return;
    dialog.showModal();
    part("body").focus(); // so that arrow keys scroll a long text
  };
  // A disabled button loses the focus to the document, so keys are read there.
  document.addEventListener("keydown", event => {
    const isTyping = event.target.closest?.("input, select, textarea");
    if (!dialog.open || isTyping || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const name = nameKey(event);
    if (!Object.hasOwn(actions, name)) return;
    event.preventDefault();
    if (!event.repeat || name.startsWith("arrow")) actions[name]();
  });
  dialog.addEventListener("close", () => {
    if (readAddress("suspects")?.has("row")) onMove(null, false);
    if (document.activeElement === document.body) document.getElementById("start-review").focus();
  });
  part("reviewer").value = kept.reviewer;
  part("reviewer").addEventListener("input", event => { kept.reviewer = event.target.value; });
  part("previous").addEventListener("click", actions.p);
  part("next").addEventListener("click", actions.j);
  part("close").addEventListener("click", () => dialog.close());
  part("export").addEventListener("click", () => exportFile(
    [...body.rows].filter(each => kept.read(readRow(each).id) !== undefined), kept, table, FORMATS[0]));
  part("clear").addEventListener("click", () => {
    if (confirm(`Clear all decisions of this page (${describeProgress(kept)})?`)) {
      kept.clear();
      say("Decisions cleared.");
    }
  });
  addChoices();
  kept.watch(drawProgress);
  drawProgress();
  return {open, close: () => dialog.close(), get isOpen() { return dialog.open; }};
};
