/* What the grid shows is a state; the address holds it, so that a link opens the same view. */

const ORDERS = [["given", "as given"], ["name", "by name"], ["mean", "by mean"]];

const state = { measure: "", axes: {}, rows: "given", columns: "given", intervals: true, cell: "" };

/** The number of the view that fits the axes best; the one that was chosen last counts most. */
function viewNumber(first) {
  const fits = (values) => index.axes.reduce((sum, [axis], k) =>
    sum + (String(values[k]) === state.axes[axis] ? (axis === first ? 100 : 1) : 0), 0);
  const scores = index.views.map(fits);
  return scores.indexOf(Math.max(...scores));
}

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  const known = (key, allowed, otherwise) => (allowed.includes(found.get(key)) ? found.get(key) : otherwise);
  const headline = index.measures.find((measure) => measure.headline) || index.measures[0];
  state.measure = known("measure", index.measures.map((measure) => measure.key), headline ? headline.key : "");
  index.axes.forEach(([axis, values], k) => { state.axes[axis] = known(`at.${axis}`, values, String(index.views[0][k])); });
  state.rows = known("rows", ORDERS.map(([how]) => how), "given");
  state.columns = known("columns", ORDERS.map(([how]) => how), "given");
  state.intervals = known("intervals", ["yes", "no"], innerWidth < 640 ? "no" : "yes") === "yes";
  state.cell = found.get("cell") || "";
}

function writeAddress() {
  const words = new URLSearchParams({ measure: state.measure });
  for (const [axis] of index.axes) words.set(`at.${axis}`, state.axes[axis]);
  words.set("rows", state.rows);
  words.set("columns", state.columns);
  words.set("intervals", state.intervals ? "yes" : "no");
  if (state.cell) words.set("cell", state.cell);
  history.replaceState(null, "", `#${words}`);
}

async function show(first) {
  const number = viewNumber(first);
  index.axes.forEach(([axis], k) => { state.axes[axis] = String(index.views[number][k]); });
  const view = await chunk(`view-${number}`);
  if (number !== viewNumber()) return; // another one was chosen in the meantime
  drawControls(view);
  const open = (place) => openPlace(number, view, place);
  drawFinding(number);
  drawGrid(view, state, open);
  drawScatter(view, open);
  writeAddress();
  performance.mark("grid");
  await Promise.all([drawPictures(number, view, state, open), openAsked(number, view), drawFigures(index.variants[number]), drawLearning(index.variants[number])]);
}

function openPlace(number, view, place) {
  const width = view.decoders.length;
  const box = document.activeElement.closest("#pictures-body") ? "#pictures-body" : "#heatmap";
  state.cell = `${view.encoders[Math.floor(place / width)]}/${view.decoders[place % width]}`;
  writeAddress();
  return openCell(number, view, place, () => {
    state.cell = "";
    writeAddress();
    const button = document.querySelector(`${box} [data-place="${place}"]`);
    if (button) button.focus();
  });
}

async function openAsked(number, view) {
  if (!state.cell || byId("cell").open) return;
  const places = view.state.map((_, k) => k);
  const place = places.find((k) => state.cell === `${view.encoders[Math.floor(k / view.decoders.length)]}/${view.decoders[k % view.decoders.length]}`);
  if (place !== undefined) await openPlace(number, view, place);
}

let offered = "";

/** Make the controls where another grid offers other measures; else set them, so that focus stays. */
function drawControls(view) {
  const present = index.measures.filter((measure) => view.measures[measure.key]);
  if (present.length && !present.some((measure) => measure.key === state.measure)) state.measure = present[0].key;
  const offer = present.map((measure) => measure.key).join();
  if (offer !== offered || !byId("rows")) byId("controls").replaceChildren(...makeControls(present));
  offered = offer;
  if (present.length) byId("measure").value = state.measure;
  for (const [axis] of index.axes) byId(`at.${axis}`).value = state.axes[axis];
  byId("rows").value = state.rows;
  byId("columns").value = state.columns;
  byId("intervals").checked = state.intervals;
}

function makeControls(present) {
  const choice = (id, label, options, change) => make("label", { for: id }, label,
    make("select", { id, onchange: (event) => { change(event.target.value); } }, options));
  const flat = (pairs) => pairs.map(([value, text]) => make("option", { value }, text));
  const set = (name) => (value) => { state[name] = value; show(); };
  const groups = [...new Set(present.map((measure) => measure.key.split("/")[0]))];
  const grouped = groups.map((group) => make("optgroup", { label: group },
    flat(present.filter((m) => m.key.split("/")[0] === group).map((m) => [m.key, m.label]))));
  const tick = make("input", { type: "checkbox", id: "intervals", onchange: (event) => { state.intervals = event.target.checked; show(); } });
  return [
    present.length ? choice("measure", "measure", grouped, set("measure")) : "",
    ...index.axes.map(([axis, values]) => choice(`at.${axis}`, axis, flat(values.map((value) => [value, value])),
      (value) => { state.axes[axis] = value; show(axis); })),
    choice("rows", "encoders", flat(ORDERS), set("rows")),
    choice("columns", "decoders", flat(ORDERS), set("columns")),
    make("label", { class: "tick", for: "intervals" }, tick, "show intervals"),
  ];
}

/** The theme is that of the system until the reader chooses one. */
function setUpTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("stitching-theme"); } catch { /* blocked: nothing is kept */ }
  const apply = () => {
    const theme = chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", `Switch to the ${theme === "dark" ? "light" : "dark"} theme`);
  };
  dark.addEventListener("change", apply);
  byId("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("stitching-theme", chosen); } catch { /* as above */ }
    apply();
  });
  apply();
}

/** Pixels between the margins of a sheet of A4. */
const SHEET = 700;

/** On paper nothing can be scrolled: show the whole table. What is folded stays so, it is for a screen. */
function setUpPrint() {
  addEventListener("beforeprint", () => {
    for (const table of document.querySelectorAll(".heat")) {
      table.classList.toggle("tight", table.rows[0].cells.length > 15);
      table.style.zoom = Math.min(1, SHEET / table.offsetWidth);
    }
  });
  addEventListener("afterprint", () => {
    for (const table of document.querySelectorAll(".heat")) table.style.zoom = "";
  });
}

async function start() {
  setUpTheme();
  setUpPrint();
  drawHead();
  if (!index.learning.length) byId("learning").remove();
  drawSections();
  drawProblems();
  drawNotes();
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  readAddress();
  if (typeof DecompressionStream === "undefined") {
    byId("heatmap").replaceChildren(make("p", { class: "warning" }, "This browser is too old to unpack the data: all numbers are also in ", make("a", { href: index.tables[0] }, index.tables[0]), "."));
    return;
  }
  await Promise.all([show(), drawClaims()]);
  addEventListener("hashchange", () => {
    if (byId("cell").open) byId("cell").close();
    readAddress();
    show();
  });
  addEventListener("scroll", placeTip, { passive: true });
  document.documentElement.dataset.ready = "yes";
}

start();
