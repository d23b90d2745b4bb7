// Axes in SVG, and paths and points on them.

const NAMESPACE = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Round numbers between two others, about five of them.
export function ticks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9 * step; tick += step) {
    found.push(Number(tick.toPrecision(12)));
  }
  return found;
}

const LONGEST_NAME = 40;
const cut = (name) => (name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)} …` : name);

// A plot of width × height with named axes: `x` and `y` turn numbers to places, `at` places to numbers.
export function axes([left, right], [low, high], [nameAcross, nameUp], width = 900, height = 460) {
  const edge = { left: 76, right: 14, top: 14, bottom: 52 };
  const across = width - edge.left - edge.right;
  const up = height - edge.top - edge.bottom;
  const x = (value) => edge.left + (across * (value - left)) / (right - left);
  const y = (value) => edge.top + up - (up * (value - low)) / (high - low);
  const grid = svg("g", { "aria-hidden": "true" });
  for (const tick of ticks(left, right)) {
    grid.append(svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: y(low), y2: y(high) }));
    grid.append(svg("text", { x: x(tick), y: y(low) + 20, "text-anchor": "middle" }, String(tick)));
  }
  for (const tick of ticks(low, high)) {
    grid.append(svg("line", { class: "grid", x1: x(left), x2: x(right), y1: y(tick), y2: y(tick) }));
    grid.append(svg("text", { x: edge.left - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  const middle = { "text-anchor": "middle", class: "name" };
  grid.append(svg("text", { ...middle, x: edge.left + across / 2, y: height - 8 }, cut(nameAcross)));
  const place = `translate(18 ${edge.top + up / 2}) rotate(-90)`;
  grid.append(svg("text", { ...middle, transform: place }, cut(nameUp)));
  const at = (event, root) => {
    const box = root.getBoundingClientRect();
    const place = ((event.clientX - box.left) * width) / box.width;
    const rise = ((event.clientY - box.top) * height) / box.height;
    const within = (value, a, b) => Math.min(Math.max(value, a), b);
    return [
      within(left + ((place - edge.left) / across) * (right - left), left, right),
      within(low + ((edge.top + up - rise) / up) * (high - low), low, high),
    ];
  };
  const path = (xs, ys) => xs.map((one, i) => `${i ? "L" : "M"}${x(one).toFixed(1)} ${y(ys[i]).toFixed(1)}`).join("");
  return { grid, x, y, at, path, width, height };
}
