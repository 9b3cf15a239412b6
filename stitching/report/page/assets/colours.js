/* Colours of the heatmap, by the rules of the report's pictures: yellow is the better end. */

const palette = index.palette.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/** The colour at a place in [0, 1] from the low to the high end of a scale. */
function colourAt(place, lowerIsBetter) {
  const at = (lowerIsBetter ? 1 - place : place) * (palette.length - 1);
  const left = Math.min(Math.floor(at), palette.length - 2);
  return palette[left].map((part, k) => Math.round(part + (palette[left + 1][k] - part) * (at - left)));
}

/** Relative luminance (WCAG 2.1) of sRGB values in 0-255. */
function luminance(colour) {
  const [r, g, b] = colour.map((part) => {
    const x = part / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Black or white, whichever stands out more: at least 4.58 to 1 on any colour. */
const inkOn = (colour) => (luminance(colour) > 0.179 ? "#000000" : "#ffffff");

/** Places on the scale in [0, 1], null without a number; 0.5 where there is no spread. */
function shades(values, columns, measure) {
  const clipped = values.map((x) => (x === null || measure.floor === null ? x : Math.max(x, measure.floor)));
  const result = values.map(() => null);
  const groups = measure.byColumn ? columns : 1;
  for (let group = 0; group < groups; group += 1) {
    const places = clipped.map((x, k) => k).filter((k) => clipped[k] !== null && k % groups === group);
    const known = places.map((k) => clipped[k]);
    const low = known.reduce((a, b) => Math.min(a, b), Infinity);
    const high = known.reduce((a, b) => Math.max(a, b), -Infinity);
    for (const k of places) result[k] = high > low ? (clipped[k] - low) / (high - low) : 0.5;
  }
  return result;
}

/** The scale as a gradient, low end left. */
function ramp(measure) {
  const stops = Array.from({ length: 17 }, (_, k) => `rgb(${colourAt(k / 16, measure.lower).join(" ")})`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
