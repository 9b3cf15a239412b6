/* Elements are made from text alone: nothing that a user wrote is ever read as HTML. */

const byId = (id) => document.getElementById(id);

/** Make an element; `on...` are listeners, all else attributes; children are nodes or text. */
function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A table with a row of heads, in a box that scrolls by itself. */
function plainTable(label, heads, rows) {
  const head = heads && make("thead", {}, make("tr", {}, heads.map((text) => make("th", { scope: "col" }, text))));
  const table = make("table", { class: "plain", "aria-label": label }, head, make("tbody", {}, rows));
  return make("div", { class: "box low", tabindex: "0", role: "region", "aria-label": label }, table);
}

function lines(items, kind = "plain") {
  return make("ul", { class: kind }, items.map((item) => make("li", {}, item)));
}

/** Text in which `...` is code. */
const rich = (text) => text.split("`").map((part, k) => (k % 2 ? make("code", {}, part) : part));

function say(text) {
  byId("said").textContent = text;
}

/** Save bytes under a name, without a request. */
function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(byId("command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected: press Ctrl+C";
  }
  say(button.textContent);
  setTimeout(() => { button.textContent = "Copy"; }, 2500);
}
