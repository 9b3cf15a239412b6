/* One test image, decoded by every model (columns) from every model's latents (rows). */

/** Draw the pictures of a grid; `open` is called with a place of the view. */
async function drawPictures(number, view, state, open) {
  const tiles = await chunk(`tiles-${number}`);
  if (!tiles) {
    byId("pictures-body").replaceChildren(make("p", { class: "soft" }, "No cell of this grid has a picture."));
    return;
  }
  const width = view.decoders.length;
  const groups = apart(view.encoders, view.encoders.map((_, k) => k), view);
  const columns = apart(view.decoders, view.decoders.map((_, k) => k), view).flat();
  const tile = (row, column) => {
    const place = row * width + column;
    const name = `${view.encoders[row]} to ${view.decoders[column]}`;
    const own = view.own.includes(place) ? ", own reconstruction" : "";
    const shown = tiles.of[place] ? make("img", { src: tiles.of[place], alt: name + own })
      : make("span", {}, view.state[place] || "no picture");
    const classes = [own && "own", !tiles.of[place] && "absent"].filter(Boolean).join(" ");
    return make("button", { type: "button", tabindex: "-1", "data-place": place, class: classes }, shown);
  };
  const line = (r) => make("tr", {}, make("th", { scope: "row" }, view.encoders[r]), columns.map((c) => make("td", {}, tile(r, c))));
  const table = make("table", { class: "tiles" },
    make("caption", { class: "unseen" }, "One test image, decoded from the mapped latents of every encoder"),
    make("thead", {}, headOf(columns.map((c) => view.decoders[c]))), bodiesOf(groups, columns.length, line));
  listen(table, view, () => state.measure, open);
  byId("pictures-body").replaceChildren(make("div", { class: "originals" },
    tiles.original ? make("figure", {}, make("img", { src: tiles.original, alt: "The test image" }), make("figcaption", { class: "soft" }, "test image")) : "",
    make("div", { class: "box low" }, table)),
  make("p", { class: "soft" }, "Point at a picture for its number in the grid below; open it for all of its measures. Outlined: a model's own reconstruction."));
}
