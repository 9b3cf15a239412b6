/* Any measure against any other: a point for each pair of models of the grid. */

const axesOf = { x: "", y: "" };

function drawScatter(view, open) {
  const present = index.measures.filter((measure) => view.measures[measure.key] && view.measures[measure.key].value.some((x) => x !== null));
  if (present.length < 2) {
    byId("scatter-body").replaceChildren(make("p", { class: "soft" }, "This grid has fewer than two measures."));
    return;
  }
  const has = (key) => present.some((measure) => measure.key === key);
  const wanted = { x: ["latent/r2", present[0].key], y: ["latent/r2_beyond_pixels", "image/rmse", present[1].key] };
  for (const axis of ["x", "y"]) if (!has(axesOf[axis])) axesOf[axis] = wanted[axis].find(has);
  const choice = (axis, label) => make("label", { for: `scatter-${axis}` }, label,
    make("select", { id: `scatter-${axis}`, onchange: (event) => { axesOf[axis] = event.target.value; drawScatter(view, open); byId(`scatter-${axis}`).focus(); } },
      present.map((measure) => make("option", { value: measure.key, selected: measure.key === axesOf[axis] }, measure.label))));
  byId("scatter-body").replaceChildren(
    make("div", { class: "controls" }, choice("x", "across"), choice("y", "up")),
    scatter(view, measureOf(axesOf.x), measureOf(axesOf.y), open));
}

function scatter(view, x, y, open) {
  const size = { width: 640, height: 400, left: 64, right: 16, top: 14, bottom: 46 };
  const width = view.decoders.length;
  const value = (measure, place) => view.measures[measure.key].value[place];
  const scaled = (measure, number) => (measure.percent ? 100 * number : number);
  const places = view.state.map((_, k) => k).filter((k) => value(x, k) !== null && value(y, k) !== null && !view.own.includes(k));
  if (!places.length) return make("p", { class: "soft" }, "No pair of different models has both.");
  const ends = [x, y].map((measure) => {
    const [low, high] = range(places.map((k) => scaled(measure, value(measure, k))));
    const pad = 0.05 * (high - low || Math.abs(high) || 1);
    return [low - pad, high + pad];
  });
  const across = (number) => size.left + ((number - ends[0][0]) / (ends[0][1] - ends[0][0])) * (size.width - size.left - size.right);
  const bottom = size.height - size.bottom;
  const up = (number) => bottom - ((number - ends[1][0]) / (ends[1][1] - ends[1][0])) * (bottom - size.top);
  const parts = [
    ...ticks(...ends[0]).flatMap((tick) => [drawn("line", { class: "rule", x1: across(tick), x2: across(tick), y1: size.top, y2: bottom }),
      drawn("text", { x: across(tick), y: bottom + 16, "text-anchor": "middle" }, plain(tick))]),
    ...ticks(...ends[1]).flatMap((tick) => [drawn("line", { class: "rule", x1: size.left, x2: size.width - size.right, y1: up(tick), y2: up(tick) }),
      drawn("text", { x: size.left - 6, y: up(tick) + 4, "text-anchor": "end" }, plain(tick))]),
    drawn("path", { class: "axis", d: `M${size.left} ${size.top}V${bottom}H${size.width - size.right}` }),
    drawn("text", { x: (size.left + size.width) / 2, y: size.height - 8, "text-anchor": "middle" }, x.label),
    drawn("text", { transform: `translate(13 ${(size.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label),
    ...places.map((k) => {
      const [encoder, decoder] = [view.encoders[Math.floor(k / width)], view.decoders[k % width]];
      const control = Object.hasOwn(view.controls, encoder);
      const text = [x, y].map((measure) => `${measure.label}: ${entryAt(view, measure.key, k).text}`).join("\n");
      const place = { cx: across(scaled(x, value(x, k))), cy: up(scaled(y, value(y, k))), r: 5 };
      return drawn("circle", { ...place, class: control ? "ring" : "chosen", onclick: () => open(k) }, drawn("title", {}, `${encoder} to ${decoder}\n${text}`));
    }),
  ];
  return make("div", { class: "curves" }, make("figure", { class: "scatter" },
    drawn("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "aria-label": `${y.label} against ${x.label}` }, parts),
    make("figcaption", { class: "soft" }, "Filled: trained encoders; rings: controls. Own reconstructions are left out. Point at a point for its pair; click it for the cell.")));
}
