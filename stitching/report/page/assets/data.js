/* The data: an index that is there at once, and chunks that are unpacked when first needed. */

const index = JSON.parse(document.getElementById("index").textContent);

const unpacked = new Map();

/** Unpack a chunk: base64 of gzip of JSON. Null where the page does not hold it. */
function chunk(name) {
  if (!unpacked.has(name)) unpacked.set(name, unpack(name));
  return unpacked.get(name);
}

async function unpack(name) {
  const element = document.getElementById(`chunk-${name}`);
  if (!element) return null;
  const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const measureOf = (key) => index.measures.find((measure) => measure.key === key);

/** What a view's pair at a place holds of one measure: text, interval, signs, or a word. */
function entryAt(view, key, place) {
  const column = view.measures[key];
  if (view.state[place] || !column) {
    return { text: view.state[place] || "missing", interval: "", signs: "", value: null };
  }
  return {
    text: column.text[place],
    interval: column.interval[place],
    signs: column.signs[place] || "",
    value: column.value[place],
  };
}

/** A mean as people read it; the tables have none, so it is rounded here. */
function short(value, measure) {
  if (measure.percent) return (100 * value).toFixed(1);
  const size = Math.abs(value);
  return size && (size < 1e-4 || size >= 1e6) ? value.toExponential(2) : value.toPrecision(3);
}
