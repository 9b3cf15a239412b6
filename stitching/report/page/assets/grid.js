/* The grid: one measure over encoders and decoders, as a table of buttons. */

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Mean over other models along one side, which rows or columns are sorted by. */
function means(view, key, measure, tones, byRow) {
  const names = byRow ? view.encoders : view.decoders;
  const width = view.decoders.length;
  return names.map((_, one) => {
    const others = byRow ? view.decoders : view.encoders;
    const pairs = others.map((_, two) => ({ place: byRow ? one * width + two : two * width + one }));
    const known = pairs.filter(({ place }) => tones[place] !== null);
    const foreign = known.filter(({ place }) => !view.own.includes(place));
    const taken = foreign.length ? foreign : known;
    // Units differ between the columns of some measures: there the mean is of places on the scale.
    const value = ({ place }) => (measure.byColumn && byRow ? tones[place] : view.measures[key].value[place]);
    return taken.length ? taken.reduce((sum, pair) => sum + value(pair), 0) / taken.length : null;
  });
}

function ordered(names, how, scores, lowerIsBetter) {
  const order = names.map((_, k) => k);
  if (how === "name") order.sort((a, b) => names[a].localeCompare(names[b], "en", { numeric: true }));
  if (how === "mean") {
    const worst = lowerIsBetter ? Infinity : -Infinity;
    const score = (k) => scores[k] ?? worst;
    order.sort((a, b) => (score(a) === score(b) ? a - b : lowerIsBetter ? score(a) - score(b) : score(b) - score(a)));
  }
  return order;
}

/** Places of names in order, controls before models; two groups, of which one may be empty. */
function apart(names, order, view) {
  const control = (k) => Object.hasOwn(view.controls, names[k]);
  return [order.filter(control), order.filter((k) => !control(k))];
}

/** The head of a table of encoders by decoders. */
function headOf(decoders) {
  const corner = make("th", { class: "corner", scope: "col" }, make("span", {}, "encoder"), " \\ ", make("span", {}, "decoder"));
  return make("tr", {}, corner, decoders.map((parts) => make("th", { scope: "col" }, parts)));
}

/** The bodies of such a table, one for each group of `apart`, with titles where there are two. */
function bodiesOf(groups, width, line) {
  const titled = groups.every((group) => group.length);
  const title = (k) => make("tr", {}, make("th", { class: "group", scope: "rowgroup", colspan: width + 1 }, ["controls", "models"][k]));
  return groups.map((group, k) => (group.length ? make("tbody", {}, titled ? title(k) : null, group.map(line)) : null));
}

/** Draw the grid into its place. `open` is called with a place of the view. */
function drawGrid(view, state, open) {
  const measure = measureOf(state.measure) || { key: "", label: "State of the cells", direction: "no cell has finished", lower: false, byColumn: false, floor: null };
  const { key } = measure;
  const width = view.decoders.length;
  const values = view.measures[key] ? view.measures[key].value : view.state.map(() => null);
  const tones = shades(values, width, measure);
  const sides = [true, false].map((byRow) => (view.measures[key] ? means(view, key, measure, tones, byRow) : []));
  const groups = apart(view.encoders, ordered(view.encoders, state.rows, sides[0], measure.lower), view);
  const columns = apart(view.decoders, ordered(view.decoders, state.columns, sides[1], measure.lower), view).flat();
  const note = (score, shown) => (shown && score !== null ? make("small", {}, `mean ${short(score, measure)}`) : null);
  const signs = new Set();

  const button = (row, column) => {
    const place = row * width + column;
    const entry = entryAt(view, key, place);
    for (const sign of entry.signs) signs.add(sign);
    const own = view.own.includes(place);
    const classes = [tones[place] === null && "absent", own && "own"].filter(Boolean).join(" ");
    const element = make("button", { type: "button", tabindex: "-1", class: classes, "data-place": place, "aria-label": spoken(view, place, entry) },
      make("span", {}, entry.text + entry.signs),
      state.intervals && entry.interval ? make("span", { class: "interval" }, `[${entry.interval}]`) : null);
    if (tones[place] !== null) {
      const colour = colourAt(tones[place], measure.lower);
      element.style.backgroundColor = `rgb(${colour.join(" ")})`;
      element.style.color = inkOn(colour);
    }
    return element;
  };

  const head = headOf(columns.map((c) => [view.decoders[c], note(sides[1][c], state.columns === "mean")]));
  const line = (r) => make("tr", {},
    make("th", { scope: "row" }, view.encoders[r], note(sides[0][r], state.rows === "mean" && !measure.byColumn)),
    columns.map((c) => make("td", {}, button(r, c))));
  const table = make("table", { class: width > 9 ? "heat many" : "heat" },
    make("caption", { class: "unseen" }, `${measure.label}, encoders by decoders`), make("thead", {}, head), bodiesOf(groups, columns.length, line));
  listen(table, view, () => key, open);

  byId("heatmap").replaceChildren(
    make("div", { class: "about" }, make("h3", {}, measure.label), make("span", { class: "soft" }, measure.direction),
      make("code", { class: "soft" }, key)),
    view.setting && index.axes.length ? make("p", { class: "soft" }, view.setting) : "",
    make("div", { class: "beside" }, make("div", { class: "box" }, table),
      make("div", { class: "remarks" }, key ? scale(view, measure, values) : "", lines(remarks(view, measure, signs, state).map(rich), "legend"))),
  );
}

function scale(view, measure, values) {
  const known = values.map((x, k) => k).filter((k) => values[k] !== null);
  if (!known.length) return "";
  const texts = view.measures[measure.key].text;
  const low = known.reduce((a, b) => (values[b] < values[a] ? b : a));
  const high = known.reduce((a, b) => (values[b] > values[a] ? b : a));
  const clipped = measure.floor !== null && values[low] < measure.floor;
  const ends = measure.byColumn ? ["lowest in column", "highest in column"]
    : [clipped ? `${short(measure.floor, measure)} or less` : texts[low], texts[high]];
  const bar = make("span", { class: "ramp" });
  bar.style.backgroundImage = ramp(measure);
  return make("div", { class: "scale" }, ends[0], bar, ends[1]);
}

/** Lines below the table: caveats of the numbers, and the meaning of signs. */
function remarks(view, measure, signs, state) {
  const column = view.measures[measure.key];
  const own = view.own.length > 0;
  const sorted = state.rows === "mean" || state.columns === "mean";
  return [
    ...(column ? column.caveats : []),
    ...Object.entries(index.meanings).filter(([sign]) => signs.has(sign)).map(([sign, meaning]) => `${sign} ${meaning}`),
    own ? "outlined: a model's own reconstruction, without a map" : "",
    column && column.interval.some(Boolean) ? "in brackets: 95 % intervals over resamples of the test images" : "",
    ...Object.entries(view.controls).map(([name, text]) => `${name}: ${text} (control)`),
    sorted ? `sorted by mean over other models, best first${measure.byColumn && state.rows === "mean" ? " (rows: mean of places on the scale, as units differ)" : ""}` : "",
  ].filter(Boolean);
}

function spoken(view, place, entry) {
  const [row, column] = [Math.floor(place / view.decoders.length), place % view.decoders.length];
  const ends = entry.interval ? `, 95 % interval ${entry.interval.replace(", ", " to ")}` : "";
  const signs = [...entry.signs].map((sign) => `; ${index.meanings[sign]}`).join("");
  return `${view.encoders[row]} to ${view.decoders[column]}: ${entry.text}${ends}${signs}`;
}

/** One cell is in the order of the tab key; arrows move from there. */
function listen(table, view, keyNow, open) {
  const rows = [...table.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("button")]).filter((row) => row.length);
  if (!rows.length || !rows[0].length) return;
  let current = rows[0][0];
  current.tabIndex = 0;
  const enter = (button) => {
    current.tabIndex = -1;
    current = button;
    current.tabIndex = 0;
  };
  table.addEventListener("keydown", (event) => {
    const row = rows.findIndex((buttons) => buttons.includes(document.activeElement));
    if (row < 0) return;
    const column = rows[row].indexOf(document.activeElement);
    let target = null;
    if (event.key in ARROWS) target = [row + ARROWS[event.key][0], column + ARROWS[event.key][1]];
    if (event.key === "Home") target = [event.ctrlKey ? 0 : row, 0];
    if (event.key === "End") target = [event.ctrlKey ? rows.length - 1 : row, rows[0].length - 1];
    if (event.key === "Escape") hideTip();
    if (!target) return;
    event.preventDefault();
    const next = rows[target[0]] && rows[target[0]][target[1]];
    if (next) next.focus();
  });
  const of = (event) => event.target.closest && event.target.closest("td button");
  table.addEventListener("focusin", (event) => {
    const button = of(event);
    if (!button) return;
    enter(button);
    if (button.matches(":focus-visible")) showTip(button, view, keyNow());
  });
  table.addEventListener("focusout", hideTip);
  table.addEventListener("mouseover", (event) => { if (of(event)) showTip(of(event), view, keyNow()); });
  table.addEventListener("mouseout", hideTip);
  table.addEventListener("click", (event) => {
    if (!of(event)) return;
    hideTip();
    open(Number(of(event).dataset.place));
  });
}

function showTip(button, view, key) {
  const place = Number(button.dataset.place);
  const entry = entryAt(view, key, place);
  const [row, column] = [Math.floor(place / view.decoders.length), place % view.decoders.length];
  const tip = byId("tip");
  tip.replaceChildren(
    make("p", {}, `${view.encoders[row]} → ${view.decoders[column]}`),
    make("p", {}, measureOf(key) ? `${measureOf(key).label}: ` : "", make("b", {}, entry.text), entry.interval ? `  95 % interval ${entry.interval}` : ""),
    ...[...entry.signs].map((sign) => make("p", {}, `${sign} ${index.meanings[sign]}`)),
    view.reason[place] && view.state[place] ? make("p", {}, view.reason[place].slice(0, 200)) : "",
  );
  tip.hidden = false;
  pointed = button;
  placeTip();
  button.setAttribute("aria-describedby", "tip");
}

/** The button that the tip belongs to. */
let pointed = null;

/** Put the tip beside its button, also while the page scrolls; a focus by keyboard may scroll it. */
function placeTip() {
  const tip = byId("tip");
  if (tip.hidden || !pointed) return;
  const at = pointed.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const below = at.bottom + 8 + size.height < innerHeight;
  tip.style.left = `${Math.max(6, Math.min(at.left, innerWidth - size.width - 6))}px`;
  tip.style.top = `${Math.max(6, below ? at.bottom + 8 : at.top - size.height - 8)}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}
