// Contrast (WCAG 2.1, success criterion 1.4.3) of every text that is rendered.
() => {
  const parsed = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const colour = parsed(style.backgroundColor);
      if (colour.a === 1) return colour.rgb;
      if (colour.a > 0 || style.backgroundImage !== "none") return null;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest("script, style, option, optgroup, noscript")) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const paper = behind(element);
    const text = walker.currentNode.textContent.trim().slice(0, 40);
    if (!paper) { found.push({ text, ratio: null }); continue; }
    const [a, b] = [light(parsed(ink).rgb), light(paper)].sort((x, y) => y - x);
    found.push({ text, ratio: (a + 0.05) / (b + 0.05) });
  }
  return found;
}
