// What is wrong with the page as it is laid out; runs inside the browser.

/** Names what is cut off, sticks out, or cannot be read for want of contrast. */
export function faults() {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the document is ${root.scrollWidth} wide in a window of ${root.clientWidth}`);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(colour, [red, green, blue, alpha / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
  const ground = (element) => {
    if (!element) return [255, 255, 255, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] >= 0.999 ? own : over(own, ground(element.parentElement));
  };
  const light = ([...rgb]) => {
    const [r, g, b] = rgb.slice(0, 3).map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [bright, dim] = [light(one), light(other)].sort((a, b) => b - a);
    return (bright + 0.05) / (dim + 0.05);
  };
  const dialog = document.querySelector("dialog[open]");
  for (const element of (dialog ?? document.body).querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim()).join(" ").trim();
    const control = element.matches("input, select, button");
    if (text === "" && !control) continue;
    if (element.closest(".visually-hidden, caption, .skip, noscript, option") || element.checkVisibility?.() === false) continue;
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.height === 0) continue;
    const name = `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${JSON.stringify(text.slice(0, 60))}`;
    if (!element.closest(".scroll") && (box.right > root.clientWidth + 0.5 || box.left < -0.5)) found.push(`${name} reaches from ${box.left} to ${box.right}`);
    const style = getComputedStyle(element);
    if (style.overflowX === "hidden" && element.scrollWidth > element.clientWidth + 1) found.push(`${name} is cut off`);
    const cell = element.closest("td, th, dd, dt, .alarm");
    if (cell && !element.closest(".scroll") && box.right > cell.getBoundingClientRect().right + 1) found.push(`${name} sticks out of its cell`);
    if (text === "" || element.closest("svg")) continue;
    const seen = ground(element);
    const ratio = contrast(over(rgba(style.color), seen), seen);
    if (ratio < 4.5 && !element.matches(":disabled")) found.push(`${name} has a contrast of ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)].slice(0, 20);
}
