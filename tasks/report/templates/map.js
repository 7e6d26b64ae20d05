// The map of the training rows: points on a canvas, their colours, texts under the pointer, a lasso.
const REACH = 14, CELL = 24, MARGIN = 14, MIN_SPAN = 6; // in CSS pixels
const SHAPES = 8, RAMP = 16; // number of category colours, and of steps of a scale
const UNKNOWN_CODE = 255;

const readArray = (text, Type) => new Type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);

const readMapData = () => {
  const content = JSON.parse(document.getElementById("map-data").textContent);
  const codes = (key, Type) => content[key] ? {...content[key], codes: readArray(content[key].codes, Type)} : null;
  return {
    points: readArray(content.points, Uint16Array), rows: readArray(content.rows, Uint32Array),
    excerpts: content.excerpts, ids: [], texts: [],
    label: codes("label", Uint8Array), source: codes("source", Uint8Array),
    strength: codes("strength", Uint8Array), effect: codes("effect", Int16Array),
  };
};

// Ids and texts are compressed; in a browser that cannot read them the points have none.
const readExcerpts = async data => {
  if (!data.excerpts || !window.DecompressionStream) return;
  const packed = new Blob([readArray(data.excerpts, Uint8Array)]).stream();
  const text = await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).text();
  [data.ids, data.texts] = JSON.parse(text);
};

const readColour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const mixColours = (a, b, share) => `#${[1, 3, 5].map(place => {
  const [low, high] = [a, b].map(colour => parseInt(colour.slice(place, place + 2), 16));
  return Math.round(low + share * (high - low)).toString(16).padStart(2, "0");
}).join("")}`;

const formatCount = count => count.toLocaleString("en");
const formatEffect = value => `${value < 0 ? "-" : "+"}${Math.abs(value).toPrecision(3)}`;
const readEffect = (column, i) => column.codes[i] / 32767 * column.largest;
const readStrength = (column, i) => column.codes[i] === UNKNOWN_CODE ? null : column.codes[i] / 254;

// A mark of a category: colour alone does not tell it from the others.
const traceMark = (path, shape, x, y, r) => {
  const corners = {
    1: [[-1, -1], [1, -1], [1, 1], [-1, 1]], 2: [[0, -1.3], [1.2, .9], [-1.2, .9]],
    3: [[0, -1.4], [1.4, 0], [0, 1.4], [-1.4, 0]], 4: [[0, 1.3], [1.2, -.9], [-1.2, -.9]],
    5: [[-.4, -1.3], [.4, -1.3], [.4, -.4], [1.3, -.4], [1.3, .4], [.4, .4], [.4, 1.3], [-.4, 1.3], [-.4, .4],
      [-1.3, .4], [-1.3, -.4], [-.4, -.4]],
    6: [[-1.3, -.5], [1.3, -.5], [1.3, .5], [-1.3, .5]], 7: [[-.5, -1.3], [.5, -1.3], [.5, 1.3], [-.5, 1.3]],
  }[shape];
  if (!corners) {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
    return;
  }
  corners.forEach(([dx, dy], i) => path[i ? "lineTo" : "moveTo"](x + r * dx, y + r * dy));
  path.closePath();
};

// Groups of points that are drawn alike, those of most interest last, and the entries of the legend.
const groupByName = column => {
  const other = {colour: readColour("neutral"), shape: 0, name: "(other values)", ids: []};
  const groups = column.names.slice(0, SHAPES).map((name, code) => (
    {colour: readColour(`category-${code + 1}`), shape: code, name, ids: []}));
  column.codes.forEach((code, i) => (groups[code] ?? other).ids.push(i));
  return [other, ...groups].filter(group => group.ids.length);
};
const groupByScale = (count, place, pick) => {
  const groups = new Map();
  for (let i = 0; i < count; i++) {
    const step = place(i);
    if (!groups.has(step)) groups.set(step, {colour: pick(step), shape: 0, step, ids: []});
    groups.get(step).ids.push(i);
  }
  return [...groups.values()].sort((a, b) => Math.abs(a.step) - Math.abs(b.step));
};
// Parts of groups in turn, so that no category hides another.
const interleaveGroups = groups => [...Array(RAMP).keys()].flatMap(
  part => groups.map(group => ({...group, ids: group.ids.filter((_, i) => i % RAMP === part)})));
const groupPoints = (data, key) => {
  const column = data[key], weak = readColour("weak"), count = data.rows.length;
  if (key === "effect") {
    const place = i => Math.round(RAMP * Math.max(-1, Math.min(1, readEffect(column, i) / column.end)));
    return groupByScale(count, place, step => mixColours(
      weak, readColour(step < 0 ? "harmful" : "helpful"), Math.abs(step) / RAMP));
  }
  if (key === "strength") {
    const place = i => Math.round(RAMP * (readStrength(column, i) ?? 0));
    return groupByScale(count, place, step => mixColours(weak, readColour("strong"), step / RAMP));
  }
  return groupByName(column);
};

const drawLegend = (legend, data, key, groups) => {
  const makeEntry = (...parts) => {
    const entry = document.createElement("li");
    entry.append(...parts);
    return entry;
  };
  if (key === "effect" || key === "strength") {
    const ramp = document.createElement("span"), end = data.effect.end.toPrecision(2);
    ramp.className = "ramp";
    const stops = key === "effect" ? ["harmful", "weak", "helpful"] : ["weak", "strong"];
    ramp.style.background = `linear-gradient(to right, ${stops.map(name => `var(--${name})`).join(", ")})`;
    const words = key === "effect" ? [`harmful, -${end} ${data.effect.unit} or less`, `helpful, +${end} ${data.effect.unit} or more`] : ["0", "1"];
    legend.replaceChildren(makeEntry(words[0], " ", ramp, " ", words[1]));
    return;
  }
  const last = groups.filter(group => group.name === "(other values)"), rest = groups.filter(group => !last.includes(group));
  legend.replaceChildren(...[...rest, ...last].map(group => {
    const mark = document.createElement("canvas"), path = new Path2D(), name = document.createElement("bdi");
    mark.width = mark.height = 32;
    mark.setAttribute("aria-hidden", "true");
    traceMark(path, group.shape, 16, 16, 9);
    const context = mark.getContext("2d");
    context.fillStyle = group.colour;
    context.fill(path);
    name.textContent = `${group.name} (${formatCount(group.ids.length)})`;
    return makeEntry(mark, name);
  }));
};

// Places of the points on a canvas of this size, with one unit for both axes.
const placePoints = (points, width, height) => {
  let right = 0, top = 0;
  for (let i = 0; i < points.length; i += 2) {
    right = Math.max(right, points[i]);
    top = Math.max(top, points[i + 1]);
  }
  const scale = Math.min((width - 2 * MARGIN) / Math.max(1, right), (height - 2 * MARGIN) / Math.max(1, top));
  const left = (width - scale * right) / 2, below = (height - scale * top) / 2;
  return Float32Array.from(points, (value, i) => i % 2 ? height - below - scale * value : left + scale * value);
};

// Returns a function that finds the nearest point within reach; a grid saves it most of the points.
const indexPoints = places => {
  const cells = new Map(), name = (column, row) => `${column} ${row}`;
  for (let i = 0; i < places.length; i += 2) {
    const cell = name(Math.floor(places[i] / CELL), Math.floor(places[i + 1] / CELL));
    if (!cells.has(cell)) cells.set(cell, []);
    cells.get(cell).push(i / 2);
  }
  return (x, y) => {
    let nearest = null, least = REACH ** 2;
    for (const across of [-1, 0, 1]) for (const down of [-1, 0, 1]) {
      for (const i of cells.get(name(Math.floor(x / CELL) + across, Math.floor(y / CELL) + down)) ?? []) {
        const distance = (places[2 * i] - x) ** 2 + (places[2 * i + 1] - y) ** 2;
        if (distance <= least) [nearest, least] = [i, distance];
      }
    }
    return nearest;
  };
};

const makeTip = (tip, data) => {
  const describe = i => {
    const strength = data.strength && readStrength(data.strength, i);
    const named = column => column && (column.names[column.codes[i]] ?? "(another value)");
    return [
      data.ids[i], named(data.label), named(data.source), `${formatEffect(readEffect(data.effect, i))}\u00a0${data.effect.unit}`,
      data.strength && (strength === null ? "strength not known" : `strength ${strength.toFixed(2)}`),
    ].filter(Boolean).flatMap(text => {
      const part = document.createElement("bdi");
      part.textContent = text;
      return [" · ", part];
    }).slice(1);
  };
  return {
    hide: () => { tip.hidden = true; },
    show: (i, x, y, width, height) => {
      tip.querySelector(".map-facts").replaceChildren(...describe(i));
      tip.querySelector(".map-text").textContent = data.texts[i] ?? "";
      tip.hidden = false;
      tip.style.left = `${Math.max(0, Math.min(x + 12, width - tip.offsetWidth))}px`;
      tip.style.top = `${y + 16 + tip.offsetHeight > height ? Math.max(0, y - 12 - tip.offsetHeight) : y + 16}px`;
    },
  };
};

// Draws the points, with those that are not selected faint, and the line of a lasso.
const drawMap = (canvas, state) => {
  const {places, layers, selected, line, hovered, width, height} = state, ratio = devicePixelRatio || 1;
  const context = canvas.getContext("2d"), count = places.length / 2;
  const radius = count > 2000 ? 2.4 : count > 300 ? 3.2 : 4.5;
  [canvas.width, canvas.height] = [width * ratio, height * ratio].map(Math.round);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const fill = (fits, alpha) => {
    context.globalAlpha = alpha;
    for (const layer of layers) {
      const path = new Path2D();
      for (const i of layer.ids) if (fits(i)) traceMark(path, layer.shape, places[2 * i], places[2 * i + 1], radius);
      context.fillStyle = layer.colour;
      context.fill(path);
    }
  };
  if (selected) fill(i => !selected.has(i), .15);
  fill(i => !selected || selected.has(i), .85);
  context.globalAlpha = 1;
  context.strokeStyle = readColour("ink");
  context.lineWidth = 1.5;
  const outline = new Path2D();
  if (hovered !== null) outline.arc(places[2 * hovered], places[2 * hovered + 1], radius + 3, 0, 2 * Math.PI);
  context.stroke(outline);
  if (line) {
    context.setLineDash([5, 4]);
    context.beginPath();
    line.forEach(([x, y], i) => i ? context.lineTo(x, y) : context.moveTo(x, y));
    context.closePath();
    context.stroke();
  }
};

// Pointer on the map: a mouse draws a lasso by dragging, a finger only in the mode `isDrawing`.
const equipPointer = (canvas, tip, state, redraw, find, finish) => {
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const hover = event => {
    const [x, y] = place(event), i = find(x, y);
    if (i === null) tip.hide(); else tip.show(i, x, y, state.width, state.height);
    if (i !== state.hovered) { state.hovered = i; redraw(); }
  };
  const leave = () => { tip.hide(); state.hovered = null; redraw(); };
  canvas.addEventListener("pointerdown", event => {
    if (event.pointerType === "touch" && !state.isDrawing) return hover(event);
    if (event.button || state.line) return;
    leave();
    canvas.setPointerCapture(event.pointerId);
    state.line = [place(event)];
  });
  canvas.addEventListener("pointermove", event => {
    if (!state.line) return hover(event);
    state.line.push(place(event));
    redraw();
  });
  canvas.addEventListener("pointerup", () => {
    const {line} = state;
    state.line = null;
    if (line && measureSpan(line) > MIN_SPAN) finish(line);
    redraw();
  });
  canvas.addEventListener("pointercancel", () => { state.line = null; redraw(); });
  canvas.addEventListener("pointerleave", () => { if (!state.line) leave(); });
  addEventListener("keydown", event => { if (event.key === "Escape" && state.hovered !== null) leave(); });
};

const equipMap = views => {
  const part = name => document.getElementById(`map-${name}`), canvas = part("canvas"), data = readMapData();
  const count = data.rows.length, status = part("status"), colour = part("colour"), draw = part("draw");
  const state = {places: new Float32Array(), layers: [], selected: null, line: null, hovered: null, isDrawing: false};
  let find = () => null, isWaiting = false;
  const redraw = () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => { isWaiting = false; drawMap(canvas, state); });
  };
  const select = selected => {
    state.selected = selected;
    const total = filterRows(selected && new Set([...selected].map(i => String(data.rows[i]))));
    part("clear").disabled = selected === null;
    status.textContent = selected
      ? `${formatCount(selected.size)} of ${formatCount(count)} rows in the region; the tables show ${formatCount(total)}` : "";
    redraw();
  };
  const filterRows = equipRowFilter(views, () => select(null));
  const finish = line => {
    const inside = new Set();
    for (let i = 0; i < count; i++) if (isInside(line, state.places[2 * i], state.places[2 * i + 1])) inside.add(i);
    if (inside.size) select(inside); else status.textContent = "no row lies in this region";
  };
  const paint = () => {
    const groups = groupPoints(data, colour.value), isNamed = !["effect", "strength"].includes(colour.value);
    state.layers = isNamed ? interleaveGroups(groups) : groups;
    drawLegend(part("legend"), data, colour.value, groups);
    redraw();
  };
  for (const name of ["tools", "figure"]) part(name).hidden = false;
  part("static").hidden = true;
  equipPointer(canvas, makeTip(part("tip"), data), state, redraw, (x, y) => find(x, y), finish);
  part("clear").addEventListener("click", () => select(null));
  draw.addEventListener("click", () => {
    state.isDrawing = !state.isDrawing;
    draw.setAttribute("aria-pressed", String(state.isDrawing));
    canvas.classList.toggle("drawing", state.isDrawing);
  });
  colour.addEventListener("change", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  new ResizeObserver(() => {
    [state.width, state.height] = [canvas.clientWidth, canvas.clientHeight];
    state.places = placePoints(data.points, state.width, state.height);
    find = indexPoints(state.places);
    redraw();
  }).observe(canvas);
  paint();
  readExcerpts(data);
};
