/* What stands around the grid: head, finding, figures, claims, failures, notes. */

/** Facts that a reader of the finding needs; the others are its origin. */
const SETTINGS = ["data", "protocol", "map", "images to fit", "images to test", "seed"];

function drawHead() {
  const { counts } = index;
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const words = Object.entries(counts).filter(([word]) => word !== "done")
    .map(([word, count]) => make("span", { class: word }, `, ${count} ${word}`));
  byId("counts").replaceChildren(make("b", {}, `${counts.done} of ${total}`), " cells finished", ...words);
  const fact = ([name, value]) => make("div", { class: value.length > 90 ? "long" : "" },
    make("dt", {}, name), make("dd", {}, name === "command" ? make("code", {}, value) : value));
  const [settings, origin] = [true, false].map((shown) => index.facts.filter(([name]) => SETTINGS.includes(name) === shown));
  byId("facts").replaceChildren(...settings.map(fact));
  byId("origin").querySelector("dl").replaceChildren(...origin.map(fact));
}

/** The finding of the grid that is shown, in sentences made by rules from its numbers. */
function drawFinding(number) {
  const found = index.findings[number] || [];
  byId("finding-body").replaceChildren(...(found.length ? found.map((text) => make("p", {}, rich(text)))
    : [make("p", { class: "soft" }, "This grid has no cell of two different trained models yet.")]));
}

function drawSections() {
  const links = [...document.querySelectorAll("main > section")].map((section) => {
    const title = section.querySelector("h2").textContent;
    return make("a", { href: `#${section.id}`, onclick: jump }, title);
  });
  byId("sections").replaceChildren(...links);
  document.querySelector(".skip").addEventListener("click", jump);
}

/** Go to a section without changing the part of the address that selects the grid. */
function jump(event) {
  event.preventDefault();
  const section = byId(event.target.getAttribute("href").slice(1));
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}

/** Figures of the whole sweep and of the protocol and seed that the grid shows. */
async function drawFigures(variant) {
  if (byId("figures-body").dataset.variant === variant) return;
  byId("figures-body").dataset.variant = variant;
  const there = index.figures.filter((figure) => figure.href && (!figure.variant || figure.variant === variant));
  const absent = index.figures.filter((figure) => !figure.href);
  const figures = await Promise.all(there.map(async (figure) => {
    const text = figure.chunk ? await chunk(figure.chunk) : null;
    const title = figure.title[0].toUpperCase() + figure.title.slice(1);
    const name = `${figure.number ? `Figure ${figure.number}. ` : ""}${title}`;
    const label = [figure.part, figure.variant].filter(Boolean).join("; ");
    const url = text && asUrl(text);
    const file = [figure.name, figure.variant.replace(/[^\w=.-]+/g, "_")].filter(Boolean).join("-");
    return make("figure", {},
      make("figcaption", {}, name, label ? make("span", { class: "soft" }, ` (${label})`) : ""),
      url ? enlarging(text, `${name}${label ? ` (${label})` : ""}`) : make("p", { class: "soft" }, "Not in this page: it holds no more figures."),
      make("div", { class: "row save" },
        url ? make("button", { type: "button", onclick: () => save(new Blob([text], { type: "image/svg+xml" }), `${file}.svg`), "aria-label": `Save ${name} as SVG` }, "SVG") : "",
        url ? make("button", { type: "button", onclick: (event) => savePng(url, `${file}.png`, event.target), "aria-label": `Save ${name} as PNG` }, "PNG") : "",
        make("a", { href: figure.href }, figure.href.split("/").pop())));
  }));
  if (byId("figures-body").dataset.variant !== variant) return; // another one was chosen meanwhile
  byId("figures-body").replaceChildren(
    figures.length ? make("div", { class: "figures" }, figures) : "",
    absent.length ? make("h3", {}, "Not there") : "",
    absent.length ? lines(absent.map((figure) => [make("b", {}, `Figure ${figure.number}. `), `${figure.title[0].toUpperCase()}${figure.title.slice(1)}: `, rich(figure.needs)])) : "",
  );
}

const asUrl = (svg) => `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;

/** Colours of paper, letters and boxes without a number in figures, and what they are in the dark. */
const DARK = { "#ffffff": "#14171a", "#1a1a1a": "#e7e9ec", "#595959": "#a9b1bb", "#e6e6e6": "#2a3036", "#d6d6d6": "#3f464e" };

/** A figure as a button that shows it as large as the window; on paper it is the light one. */
function enlarging(svg, name) {
  const dark = svg.replace(new RegExp(Object.keys(DARK).join("|"), "g"), (colour) => DARK[colour]);
  const image = () => [[svg, "light"], [dark, "dark"]].map(([text, theme]) => make("img", { src: asUrl(text), alt: name, class: `in-${theme}` }));
  const enlarge = () => {
    const close = make("button", { type: "button", autofocus: true, onclick: () => byId("large").close() }, "Close");
    byId("large").replaceChildren(make("div", { class: "head" }, make("h2", {}, name), close), ...image());
    byId("large").showModal();
  };
  return make("button", { type: "button", class: "enlarge", "aria-label": `Enlarge ${name}`, onclick: enlarge }, image());
}

/** Draw a figure at three times its size, and save it as PNG. */
async function savePng(url, name, button) {
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = make("canvas", { width: 3 * (image.naturalWidth || 600), height: 3 * (image.naturalHeight || 400) });
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
    if (!blob) throw new Error("the picture is too large");
    save(blob, name);
  } catch (error) {
    button.textContent = "PNG failed";
    say(`No PNG was made: ${error.message}`);
  }
}

/** Curves against the number of fit images, with their limits; no section where there are none. */
async function drawLearning(variant) {
  const body = byId("learning-body");
  if (!body || body.dataset.variant === variant) return;
  body.dataset.variant = variant;
  const there = index.learning.filter((entry) => !entry.variant || entry.variant === variant);
  const parts = await Promise.all(there.map(async (entry) => {
    const found = entry.chunk ? await chunk(entry.chunk) : null;
    const links = entry.hrefs.flatMap((link) => [make("a", { href: link }, link.split("/").pop()), " "]);
    if (!found) return make("p", { class: "soft" }, "Not in this page: it holds no more figures. ", links);
    const heads = ["pair", "images", "value", "95 % interval", "N → ∞", "95 % interval", "p", ""];
    const tables = found.tables.map(({ label, rows }) => make("details", {}, make("summary", {}, label),
      plainTable(label, heads, rows.map(([pair, ...rest]) => make("tr", {}, make("th", { scope: "row" }, pair), rest.map((text) => make("td", {}, text)))))));
    return make("figure", { class: "learning" },
      make("figcaption", { class: "soft" }, "Value = y + c N^-p; at the right end y, with its interval: hollow where the sizes leave p open or y is far. Controls are grey."),
      make("img", { src: found.url, alt: "Measures against the number of fit images, and their limits" }),
      tables, lines(Object.entries(entry.signs).map(([sign, text]) => `${sign} : ${text}`)), links);
  }));
  if (body.dataset.variant === variant) body.replaceChildren(...parts);
}

async function drawClaims() {
  const { introduction = "", verdicts = {}, claims = [] } = (await chunk("claims")) || {};
  if (!claims.length) {
    byId("claims-body").replaceChildren(make("p", { class: "soft" }, rich(index.unasked || "No claim was answered.")));
    return;
  }
  const places = [...new Set(claims.flatMap((claim) => claim.answers.map((answer) => answer.where)))].filter((where) => where !== "anywhere");
  const draw = (claim) => make("article", { class: "claim", id: `claim-${claim.id}` }, make("h3", {}, `${claim.id}  `, rich(claim.text)),
    places.length > 1 ? "" : claim.answers.map(drawAnswer),
    make("details", {}, make("summary", {}, places.length > 1 ? "Rule and answers" : "Rule"),
      make("p", { class: "soft" }, rich(claim.rule)), places.length > 1 ? claim.answers.map(drawAnswer) : ""));
  const [open, answered] = [true, false].map((unrun) => claims.filter((claim) => claim.answers.every((one) => one.verdict === "not run") === unrun));
  byId("claims-body").replaceChildren(
    make("p", {}, rich(introduction)),
    make("dl", { class: "verdicts" }, ...Object.entries(verdicts).flatMap(([word, text]) => [make("dt", {}, verdict(word)), make("dd", { class: "soft" }, text)])),
    places.length > 1 ? verdictTable(claims, places) : "",
    ...answered.map(draw),
    open.length ? make("details", { class: "unrun" }, make("summary", {}, `${open.length} claims that this sweep cannot answer: ${open.map((claim) => claim.id).join(", ")}`), open.map(draw)) : "");
}

/** Claims down, grids across; a dash where the cells are of another kind. */
function verdictTable(claims, places) {
  const rows = claims.map((claim) => make("tr", {}, make("th", { scope: "row" }, claim.id), places.map((where) => {
    const answer = claim.answers.find((one) => one.where === where) || claim.answers.find((one) => one.where === "anywhere");
    return make("td", { class: "text" }, answer ? verdict(answer.verdict) : "–");
  })));
  return plainTable("Verdicts", ["claim", ...places], rows);
}

const verdict = (word) => make("span", { class: `verdict ${word.replaceAll(" ", "-")}` }, word);

function drawAnswer(answer) {
  const rows = answer.numbers.map(([name, value, ends]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value), make("td", { class: "ends" }, ends)));
  const more = [
    rows.length ? plainTable(`Numbers, ${answer.where}`, ["number", "value", "95 % interval"], rows) : "",
    answer.more ? make("p", { class: "soft" }, `${answer.more} more numbers of those that decided are in claims.json.`) : "",
    answer.notes.length ? lines(answer.notes.map(rich)) : "",
  ].filter(Boolean);
  return make("div", { class: "answer" },
    verdict(answer.verdict),
    make("div", {}, make("div", {}, make("span", { class: "soft" }, `${answer.where}: `), rich(answer.reason)),
      answer.scope ? make("div", { class: "soft" }, answer.scope) : "",
      more.length ? make("details", {}, make("summary", {}, rows.length ? `${rows.length} numbers` : "Notes"), more) : "",
      answer.run.length ? make("pre", { class: "wrap", tabindex: "0", "aria-label": "To run" }, answer.run.join("\n")) : ""));
}

function drawProblems() {
  const groups = index.failures.map((group) => make("div", {},
    make("h3", {}, `${group.cells.length} ${group.state}: ${group.reason}`), folded(group.cells.map(([name, link]) => link ? make("a", { href: `${link}/` }, name) : name))));
  const missing = index.missing.length ? make("div", {}, make("h3", {}, `${index.missing.length} missing: no cell of these pairs was started`), folded(index.missing)) : "";
  const none = make("p", { class: "soft" }, "Every planned cell has finished.");
  byId("problems-body").replaceChildren(...(groups.length || missing ? [...groups, missing] : [none]));
}

/** A list in one line each, folded where it is long. */
function folded(items) {
  if (items.length <= 12) return lines(items);
  return make("details", {}, make("summary", {}, `${items.length} cells`), lines(items));
}

function drawNotes() {
  byId("notes-body").replaceChildren(index.notes.length ? lines(index.notes.map(rich)) : make("p", { class: "soft" }, "None."));
}
