// Points on a plane, and the function that the model makes of them step by step.

import { element, newest, pathOf, postJson, tried } from "./service.js";
import { axes, svg } from "./plot.js";

const NUM_PLACES = 121;
const MOST_STEPS = 10;
const REACH = 5; // deviations of a column, to either side

export function curvesPage(model) {
  const [column] = model.columns;
  const range = [column.mean - REACH * column.scale, column.mean + REACH * column.scale];
  const places = Array.from(
    { length: NUM_PLACES },
    (_, i) => range[0] + ((range[1] - range[0]) * i) / (NUM_PLACES - 1),
  );
  const rowsOf = (xs) => xs.map((one) => [one]);
  const points = [];
  let curves = null;
  let plot = null;
  const newestCurves = newest();

  const root = svg("svg", { class: "plot", role: "group", "aria-label": "Points, and the function that the model makes of them" });
  const step = element("input", { type: "range", min: 0, max: MOST_STEPS, value: 1, id: "step" });
  const stepName = element("output", { for: "step" });
  const status = element("p", { class: "quiet", "aria-live": "polite" });

  // The function after each step.
  async function adapt() {
    const body = {
      rows: rowsOf(points.map(([x]) => x)),
      targets: points.map(([, y]) => y),
      queries: rowsOf(places),
      num_inner_steps: points.length ? MOST_STEPS : 0,
    };
    if (!points.length) {
      const { predictions } = await postJson(pathOf(model, "predict"), { rows: rowsOf(places) });
      curves = [predictions];
    } else {
      const found = await newestCurves(() => postJson(pathOf(model, "steps"), body));
      if (found === undefined) return;
      curves = found.predictions;
    }
    if (plot === null) frame();
    draw();
  }

  function frame() {
    const values = curves[0];
    const [least, largest] = [Math.min(...values), Math.max(...values)];
    const room = Math.max(largest - least, 4) * 0.9;
    const middle = (least + largest) / 2;
    plot = axes(range, [middle - room, middle + room]);
    root.setAttribute("viewBox", `0 0 ${plot.width} ${plot.height}`);
  }

  function draw() {
    const last = Math.min(Number(step.value), curves.length - 1);
    const shown = curves.slice(0, last + 1);
    const paths = shown.map((values, i) => {
      const kind = i === last && i > 0 ? "after" : i === 0 ? "before" : "between";
      return svg("path", { class: kind, d: plot.path(places, values) });
    });
    const circles = points.map((point, i) => circle(point, i));
    const focused = circles.findIndex((_, i) => document.activeElement?.dataset?.point === String(i));
    root.replaceChildren(plot.grid, ...paths, ...circles);
    if (focused >= 0) circles[focused].focus();
    stepName.textContent = `${step.value}`;
    const error = points.length
      ? points.reduce((sum, [x, y]) => sum + (at(shown[last], x) - y) ** 2, 0) / points.length
      : null;
    status.textContent =
      error === null
        ? "No points yet: this is the initialization."
        : `After ${last} step${last === 1 ? "" : "s"} the mean squared error at the ${points.length} point${points.length === 1 ? "" : "s"} is ${error.toPrecision(3)}.`;
  }

  const at = (values, x) =>
    values[Math.round(((x - range[0]) / (range[1] - range[0])) * (NUM_PLACES - 1))];

  function circle(point, i) {
    const made = svg("circle", {
      cx: plot.x(point[0]),
      cy: plot.y(point[1]),
      r: 8,
      tabindex: 0,
      role: "slider",
      "aria-label": `Point ${i + 1}`,
      "aria-valuenow": point[1].toFixed(2),
      "aria-valuetext": `${point[0].toFixed(2)}, ${point[1].toFixed(2)}`,
      "data-point": i,
    });
    made.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (event.key === "Delete" || event.key === "Backspace") points.splice(i, 1);
      else if (event.key in moves) {
        const [dx, dy] = moves[event.key];
        point[0] = Math.min(Math.max(point[0] + (dx * (range[1] - range[0])) / 50, range[0]), range[1]);
        point[1] += dy * 0.1;
      } else return;
      event.preventDefault();
      tried(adapt);
    });
    return made;
  }

  let held = null;
  root.addEventListener("pointerdown", (event) => {
    if (plot === null) return;
    const hit = event.target.dataset?.point;
    if (hit === undefined) points.push((held = plot.at(event, root)));
    else held = points[Number(hit)];
    root.setPointerCapture(event.pointerId);
    tried(adapt);
  });
  root.addEventListener("pointermove", (event) => {
    if (held === null) return;
    [held[0], held[1]] = plot.at(event, root);
    tried(adapt);
  });
  for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => (held = null));
  root.addEventListener("dblclick", (event) => {
    const hit = event.target.dataset?.point;
    if (hit === undefined) return;
    points.splice(Number(hit), 1);
    tried(adapt);
  });

  step.addEventListener("input", draw);
  const x = element("input", { type: "number", step: "any", "aria-label": `${column.name} of a point` });
  const y = element("input", { type: "number", step: "any", "aria-label": `${model.targets[0]} of a point` });
  const add = (event) => {
    event.preventDefault();
    if (x.value === "" || y.value === "") return;
    points.push([Number(x.value), Number(y.value)]);
    tried(adapt);
  };
  tried(adapt);
  return [
    element("h2", {}, "A few points make a function"),
    element(
      "p",
      {},
      "Click to set a point, drag to move it, click it twice to take it away. The dashed line is what the model says before it has seen a point; the blue one is what a few gradient steps on the points make of it.",
    ),
    root,
    element(
      "div",
      { class: "legend" },
      element("span", { class: "of-before" }, "before"),
      element("span", { class: "of-between" }, "on the way"),
      element("span", {}, "after the steps"),
      element("span", { class: "of-point" }, "points"),
    ),
    element("div", { class: "row" }, element("label", { for: "step" }, "Inner steps"), step, stepName),
    status,
    element(
      "form",
      { class: "row", onsubmit: add },
      "A point by its numbers:",
      x,
      y,
      element("button", {}, "add"),
      element("button", { type: "button", onclick: () => (points.splice(0), tried(adapt)) }, "remove all"),
    ),
  ];
}
