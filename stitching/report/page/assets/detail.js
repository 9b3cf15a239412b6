/* One cell: pictures, measures, attributes, curves, settings, command, times; or its failure. */

async function openCell(number, view, place, closed) {
  const width = view.decoders.length;
  const [row, column] = [Math.floor(place / width), place % width];
  const [details, picture, configs] = await Promise.all([
    chunk(`detail-${number}-${row}`), chunk(`picture-${number}-${place}`), chunk("configs"),
  ]);
  const detail = details && details[column];
  const dialog = byId("cell");
  const name = `${view.encoders[row]} → ${view.decoders[column]}`;
  const settings = index.axes.map(([axis], k) => `${axis} ${index.views[number][k]}`).join(", ");
  dialog.replaceChildren(
    make("div", { class: "head" }, make("h2", { id: "cell-title" }, name),
      make("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close")),
    settings ? make("p", { class: "soft" }, settings) : "",
    ...(view.state[place] ? failure(view, place, detail) : results(view, place, detail, picture, name)),
    ...command(view, place),
    ...config(view, place, configs),
  );
  dialog.onclose = closed;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

const fileLink = (view, place, file) => make("a", { href: `${view.folder[place]}/${file}` }, file);

function failure(view, place, detail) {
  const word = view.state[place];
  if (!view.folder[place]) return [make("p", {}, word === "missing" ? "This cell was not started." : word)];
  return [
    make("p", {}, make("b", { class: "verdict not-supported" }, word), `: ${view.reason[place]}`),
    detail && detail.traceback ? make("h3", {}, "Traceback") : "",
    detail && detail.traceback ? make("pre", { tabindex: "0" }, detail.traceback) : "",
    word === "failed" ? make("p", { class: "soft" }, fileLink(view, place, "error.txt")) : "",
  ];
}

function results(view, place, detail, picture, name) {
  const parts = [make("h3", {}, "Pictures")];
  if (picture) {
    parts.push(make("div", { class: "box low", tabindex: "0", role: "region", "aria-label": "Pictures" }, make("img", { src: picture.url, width: picture.width, height: picture.height, alt: `Test images, the decoder's own reconstructions, and images stitched ${name.replace("→", "to")}` })));
  } else {
    parts.push(make("p", { class: "soft" }, "Not in this page: ", fileLink(view, place, "reconstructions.png"), ", where the cell drew any."));
  }
  const rows = index.measures.filter((measure) => view.measures[measure.key]).map((measure) => [measure, entryAt(view, measure.key, place)])
    .filter(([, entry]) => entry.text !== "missing")
    .map(([measure, entry]) => make("tr", {}, make("th", { scope: "row" }, measure.label), make("td", {}, entry.text + entry.signs),
      make("td", { class: "ends" }, entry.interval ? `[${entry.interval}]` : ""), make("td", { class: "text soft wide" }, measure.direction)));
  parts.push(make("h3", {}, "Measures"), plainTable("Measures", ["measure", "value", "95 % interval", ""], rows));
  if (detail && detail.flat) parts.push(...undetermined(view, place, detail.flat));
  if (!detail) {
    return [...parts, make("p", { class: "soft" }, "Attributes, curves and times are not in this page: ", fileLink(view, place, "metrics.json"), ", ", fileLink(view, place, "resources.json"), ".")];
  }
  for (const [kind, title] of [["probe", "Attributes"], ["factor", "Factors"], ["class", "Classes"]]) {
    const table = attributeTable(detail.attributes, kind, title);
    if (table) parts.push(make("h3", {}, title), table);
  }
  const curves = [penaltyChart(detail.curves.penalty_curve), rankChart(detail.curves.rank_curve)].filter(Boolean);
  if (curves.length) parts.push(make("h3", {}, "Curves"), make("div", { class: "curves" }, curves));
  return [...parts, ...facts(detail.facts)];
}

/** Measures at both penalties, where the score of penalties does not decide. */
function undetermined(view, place, flat) {
  const rows = index.measures.filter(({ key }) => flat.measures[key]).map((measure) => {
    const [text, ends] = flat.measures[measure.key];
    const chosen = entryAt(view, measure.key, place);
    return make("tr", {}, make("th", { scope: "row" }, measure.label), make("td", {}, chosen.text), make("td", {}, text), make("td", { class: "ends" }, ends ? `[${ends}]` : ""));
  });
  return [make("h3", {}, "Penalty not determined"),
    make("p", {}, `Penalty ${shortest(flat.other)} scores only ${shortest(100 * flat.gap)} % worse than ${shortest(flat.alpha)}, the chosen one, but its map differs.`),
    plainTable("Measures at both penalties", ["measure", `at ${shortest(flat.alpha)}`, `at ${shortest(flat.other)}`, "95 % interval"], rows)];
}

/** Attributes down, their measures across; the number above its interval. */
function attributeTable(attributes, kind, title) {
  const known = index.measures.filter(({ key }) => key.startsWith(`${kind}/`) && attributes[key]);
  const keys = [true, false].flatMap((first) => known.filter((measure) => measure.headline === first)).map(({ key }) => key);
  if (!keys.length) return null;
  const names = [...new Set(keys.flatMap((key) => Object.keys(attributes[key])))];
  const rows = names.map((name) => make("tr", {}, make("th", { scope: "row" }, name.replaceAll("_", " ")), keys.map((key) => {
    const [text, ends] = attributes[key][name] || [""];
    return make("td", {}, text, ends ? make("span", { class: "interval" }, `[${ends}]`) : "");
  })));
  return plainTable(title, [title.toLowerCase(), ...keys.map((key) => measureOf(key).label)], rows);
}

function facts(own) {
  const all = Object.entries({ ...index.common, ...own }).filter(([, value]) => value !== null);
  const times = all.filter(([key]) => /^(time|memory|count)\//.test(key));
  const rest = all.filter(([key]) => !/^(time|memory|count)\//.test(key)).sort(([a], [b]) => (a < b ? -1 : 1));
  const table = (label, items) => plainTable(label, null, items.map(([key, value]) => make("tr", {},
    make("th", { scope: "row" }, key), make("td", { class: "text" }, typeof value === "number" ? shortest(value) : value))));
  return [
    times.length ? make("h3", {}, "Time and memory") : "",
    times.length ? table("Time and memory", times.map(([key, value]) => [stage(key), value])) : "",
    make("details", {}, make("summary", {}, `Everything else that the cell wrote (${rest.length})`), table("Facts", rest)),
  ];
}

const stage = (key) => key.replace(/^time\/(.+)_s$/, "$1 (s)").replace(/^memory\/(.+)_mib$/, "$1 memory (MiB)").replace(/^count\//, "").replaceAll("_", " ");
const shortest = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));

function command(view, place) {
  const line = view.command[place];
  if (!line) return [];
  const button = make("button", { type: "button", onclick: () => copy(line, button) }, "Copy");
  return [
    make("h3", {}, "To run this cell again"),
    make("pre", { class: "wrap", id: "command", tabindex: "0" }, line),
    make("div", { class: "row" }, button, index.cwd ? make("span", { class: "soft" }, "in ", make("code", {}, index.cwd)) : ""),
    view.unsure.includes(place) ? make("p", { class: "soft" }, "The settings given on the command line are unknown: only the models are named here. Compare the configuration.") : "",
  ];
}

/** What differs from the sections that most cells have comes first; then the file as it is. */
function config(view, place, configs) {
  const own = view.config[place];
  if (!own || !own.length || !configs) return [];
  const settings = (sections) => Object.assign({}, ...sections.map((k) => configs.leaves[k]));
  const [mine, common] = [settings(own), settings(configs.common)];
  const names = [...new Set([...Object.keys(mine), ...Object.keys(common)])].filter((key) => mine[key] !== common[key]);
  const word = (found, key) => (key in found ? String(found[key] ?? "null") : "not set");
  const rows = names.map((key) => make("tr", {}, make("th", { scope: "row" }, key),
    make("td", { class: "text" }, word(mine, key)), make("td", { class: "text soft" }, word(common, key))));
  return [
    make("h3", {}, "Configuration"),
    rows.length ? plainTable("What differs from most cells", ["setting", "here", "in most cells"], rows) : make("p", { class: "soft" }, "As in most cells."),
    make("details", {}, make("summary", {}, "config.yaml"), make("pre", { tabindex: "0" }, own.map((k) => configs.texts[k]).join("\n"))),
  ];
}
