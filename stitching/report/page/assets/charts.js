/* Curves of a cell, drawn from the numbers of its CSV files. */

const FRAME = { width: 440, height: 260, left: 56, right: 56, top: 14, bottom: 42 };

/** Round numbers that cover a range, about five of them. */
function ticks(low, high) {
  if (!(high > low)) return [low];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) => (first + k) * step);
}

/** Powers of ten in a range of exponents, at most about six of them. */
function powers(low, high) {
  const step = Math.max(1, Math.ceil((high - low) / 6));
  const first = Math.ceil(low - 1e-9);
  const whole = Array.from({ length: Math.max(0, Math.floor((high - first) / step + 1e-9) + 1) }, (_, k) => first + k * step);
  return whole.length > 1 ? whole : [low, high];
}

const range = (values) => [Math.min(...values), Math.max(...values)];
const plain = (x) => (Math.abs(x) >= 1e5 || (x && Math.abs(x) < 1e-3) ? x.toExponential(0) : String(Number(x.toPrecision(3))));

/** Two curves over a logarithmic axis: left with a full line, right, where given, with a broken one. */
function chart({ title, x, xLabel, left, right, chosen, other, window }) {
  const { width, height } = FRAME;
  const at = x.map((value, k) => k).filter((k) => x[k] > 0);
  if (at.length < 2) return "";
  const exponents = x.map((value) => (value > 0 ? Math.log10(value) : null));
  const [x0, x1] = range(at.map((k) => exponents[k]));
  const across = (k) => FRAME.left + ((exponents[k] - x0) / (x1 - x0 || 1)) * (width - FRAME.left - FRAME.right);
  const bottom = height - FRAME.bottom;
  const parts = [];
  for (const power of powers(x0, x1)) {
    const place = FRAME.left + ((power - x0) / (x1 - x0 || 1)) * (width - FRAME.left - FRAME.right);
    parts.push(drawn("line", { class: "rule", x1: place, x2: place, y1: FRAME.top, y2: bottom }));
    parts.push(drawn("text", { x: place, y: bottom + 15, "text-anchor": "middle" }, plain(10 ** power)));
  }
  for (const [side, curve] of [["first", left], ["second", right]]) {
    if (!curve) continue;
    const known = at.filter((k) => curve.values[k] !== null && curve.values[k] !== undefined);
    if (!known.length) continue;
    const [y0, y1] = (side === "first" && window) || range(known.map((k) => curve.values[k]));
    const up = (value) => bottom - ((value - y0) / (y1 - y0 || 1)) * (bottom - FRAME.top);
    const edge = side === "first" ? FRAME.left : width - FRAME.right;
    const anchor = side === "first" ? "end" : "start";
    for (const tick of ticks(y0, y1)) {
      if (side === "first") parts.push(drawn("line", { class: "rule", x1: FRAME.left, x2: width - FRAME.right, y1: up(tick), y2: up(tick) }));
      parts.push(drawn("text", { x: edge + (side === "first" ? -6 : 6), y: up(tick) + 4, "text-anchor": anchor }, plain(tick)));
    }
    const inside = known.filter((k) => curve.values[k] <= y1 + 1e-12);
    parts.push(drawn("polyline", { class: side, points: inside.map((k) => `${across(k).toFixed(1)},${up(curve.values[k]).toFixed(1)}`).join(" ") }));
    const middle = (FRAME.top + bottom) / 2;
    const turned = side === "first" ? `translate(12 ${middle}) rotate(-90)` : `translate(${width - 8} ${middle}) rotate(-90)`;
    parts.push(drawn("text", { class: `${side}-label`, transform: turned, "text-anchor": "middle" }, curve.label));
    if (side === "first" && chosen) {
      const picked = known.filter((k) => chosen[k] > 0 && curve.values[k] <= y1);
      for (const k of other ? known.filter((k) => other[k] > 0 && curve.values[k] <= y1) : []) parts.push(drawn("circle", { class: "ring", cx: across(k), cy: up(curve.values[k]), r: 6 }, drawn("title", {}, `scores as well, with another map: ${plain(x[k])}`)));
      for (const k of picked) parts.push(drawn("circle", { class: "chosen", cx: across(k), cy: up(curve.values[k]), r: 4.5 }, drawn("title", {}, `chosen: ${plain(x[k])}`)));
    }
  }
  parts.push(drawn("path", { class: "axis", d: `M${FRAME.left} ${FRAME.top}V${bottom}H${width - FRAME.right}V${FRAME.top}` }));
  parts.push(drawn("text", { x: width / 2, y: height - 8, "text-anchor": "middle" }, xLabel));
  return make("figure", {}, drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, parts),
    make("figcaption", { class: "soft" }, title));
}

function penaltyChart(curve) {
  if (!curve || !curve.alpha || !curve.cv_mse) return "";
  const score = curve.image_rmse || curve.cv_mse;
  const known = score.filter((value) => value !== null);
  const [low, top] = range(known);
  const last = known[known.length - 1];
  // Without a penalty the error can be many times that of the mean: show the lower part.
  const cut = low < last && top > low + 3 * (last - low);
  const picked = curve.chosen ? curve.alpha.filter((_, k) => curve.chosen[k] > 0).map(plain) : [];
  const tied = curve.flat ? curve.alpha.filter((_, k) => curve.flat[k] > 0).map(plain) : [];
  return chart({
    title: `Choice of the ridge penalty${picked.length ? `: ${picked.join(", ")}` : ""}${tied.length ? `; ${tied.join(", ")} scores as well, with another map` : ""}${cut ? " (the axis is cut above)" : ""}`,
    x: curve.alpha, xLabel: "penalty alpha (squared source units)", chosen: curve.chosen, other: curve.flat,
    left: { label: curve.image_rmse ? "RMSE of held-out images" : "cross-validated error", values: score },
    right: curve.dof && { label: "degrees of freedom", values: curve.dof },
    window: cut ? [low - 0.1 * (last - low), low + 2 * (last - low)] : null,
  });
}

function rankChart(curve) {
  if (!curve || !curve.rank || !curve["latent/r2"]) return "";
  const second = ["image/lpips", "image/rmse"].find((key) => curve[key]);
  return chart({
    title: "Measures against the rank of the map", x: curve.rank, xLabel: "rank of the map",
    left: { label: "latent R²", values: curve["latent/r2"] },
    right: second && { label: second, values: curve[second] },
  });
}
