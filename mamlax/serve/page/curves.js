// Points on a plane, and the function that the model makes of them step by step.

import { atStep, COMPUTING, element, latest, Refused, tried } from "./parts.js";
import { pathOf, postJson } from "./service.js";
import { axes, svg } from "./plot.js";

const NUM_PLACES = 121;
const NEAR = 4; // pixels: less is a click, more is a drag
const REACH = 5; // deviations of a column, to either side

export function curvesPage(model) {
  const [column] = model.columns;
  const range = [column.mean - REACH * column.scale, column.mean + REACH * column.scale];
  const places = Array.from(
    { length: NUM_PLACES },
    (_, i) => range[0] + ((range[1] - range[0]) * i) / (NUM_PLACES - 1),
  );
  const rowsOf = (xs) => xs.map((one) => [one]);
  const [mean] = model.means;
  const [scale] = model.scales;
  const heights = [mean - REACH * scale, mean + REACH * scale];
  const isNarrow = matchMedia("(max-width: 37rem)").matches;
  const names = model.named ? [column.name, model.targets[0]] : ["x", "y"];
  const plot = isNarrow ? axes(range, heights, names, 420, 400) : axes(range, heights, names);
  // a head that is solved for takes no steps: there is a function before, and one after
  const mostSteps = Math.max(model.num_inner_steps, 1);
  const points = [];
  let curves = null; // the function before, and after each step
  let pretrained = null; // the same of the pretrained network
  let errors = null; // at the points, after each step

  const root = svg("svg", {
    class: "plot",
    role: "group",
    viewBox: `0 0 ${plot.width} ${plot.height}`,
    "aria-label": `Points, and the function that the model makes of them: ${names[1]} by ${names[0]}`,
  });
  const step = element("input", { type: "range", min: 0, max: mostSteps, value: mostSteps, id: "step" });
  const stepName = element("output", { for: "step" });
  const status = element("p", { class: "quiet", "aria-live": "polite" });

  const update = latest(async () => {
    draw();
    try {
      await computed();
    } catch (error) {
      curves = errors = pretrained = null; // those are of other points
      throw error;
    } finally {
      draw();
    }
  }, () => (status.textContent = COMPUTING));

  async function computed() {
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const queries = rowsOf([...places, ...xs]);
    const found = [];
    pretrained = null;
    // a head that is solved for has no step 0 among its steps
    if (!points.length || !model.num_inner_steps) {
      found.push((await postJson(pathOf(model, "predict"), { rows: queries })).predictions);
    }
    if (points.length) {
      const body = { rows: rowsOf(xs), targets: ys, queries, num_inner_steps: model.num_inner_steps };
      const answer = await postJson(pathOf(model, "steps"), body);
      found.push(...answer.predictions);
      pretrained = answer.pretrained?.map((values) => values.slice(0, NUM_PLACES));
    }
    curves = found.map((values) => values.slice(0, NUM_PLACES));
    errors = found.map((values) =>
      values.slice(NUM_PLACES).reduce((sum, value, i) => sum + (value - ys[i]) ** 2, 0) / ys.length,
    );
  }

  function draw() {
    const last = curves === null ? 0 : Math.min(Number(step.value), curves.length - 1);
    const shown = curves === null ? [] : curves.slice(0, last + 1);
    const paths = shown.map((values, i) => {
      const kind = i === last && i > 0 ? "after" : i === 0 ? "before" : "between";
      return svg("path", { class: kind, d: plot.path(places, values) });
    });
    const beside = last > 0 ? atStep(model, pretrained, last) : pretrained?.[0];
    if (beside) paths.unshift(svg("path", { class: "pretrained", d: plot.path(places, beside) }));
    const focused = document.activeElement?.dataset?.point;
    const circles = points.map((point, i) => circle(point, i));
    root.replaceChildren(plot.grid, ...paths, ...circles);
    if (focused !== undefined) circles[focused]?.focus();
    stepName.textContent = step.value;
    const steps = model.num_inner_steps ? `After ${last} step${last === 1 ? "" : "s"} the` : "The";
    status.textContent =
      errors === null
        ? ""
        : !points.length
          ? "No points yet: this is the initialization."
          : `${steps} mean squared error at the ${points.length} point${points.length === 1 ? "" : "s"} is ${errors[last].toPrecision(3)}.`;
  }

  const within = (value, [low, high]) => Math.min(Math.max(value, low), high);

  function circle(point, i) {
    const made = svg("circle", {
      cx: plot.x(point[0]),
      cy: plot.y(point[1]),
      r: isNarrow ? 13 : 8,
      tabindex: 0,
      role: "slider",
      "aria-label": `Point ${i + 1}`,
      "aria-valuemin": heights[0],
      "aria-valuemax": heights[1],
      "aria-valuenow": point[1],
      "aria-valuetext": `${point[0].toPrecision(3)}, ${point[1].toPrecision(3)}`,
      "data-point": i,
    });
    made.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (event.key === "Delete" || event.key === "Backspace") points.splice(i, 1);
      else if (event.key in moves) {
        const [dx, dy] = moves[event.key];
        point[0] = within(point[0] + (dx * (range[1] - range[0])) / 50, range);
        point[1] = within(point[1] + (dy * (heights[1] - heights[0])) / 50, heights);
      } else return;
      event.preventDefault();
      update();
    });
    return made;
  }

  // What is held: a point, where it was taken, and whether it was there before.
  let held = null;
  root.addEventListener("pointerdown", (event) => {
    if (held !== null) return; // a second finger
    const hit = event.target.dataset?.point;
    if (hit === undefined) points.push(plot.at(event, root));
    const number = hit === undefined ? points.length - 1 : Number(hit);
    held = { finger: event.pointerId, number, x: event.clientX, y: event.clientY, isOld: hit !== undefined, isMoved: false };
    root.setPointerCapture(event.pointerId);
    update();
  });
  root.addEventListener("pointermove", (event) => {
    if (held?.finger !== event.pointerId) return;
    held.isMoved ||= Math.hypot(event.clientX - held.x, event.clientY - held.y) > NEAR;
    if (!held.isMoved) return;
    points[held.number] = plot.at(event, root);
    update();
  });
  root.addEventListener("pointerup", (event) => {
    if (held?.finger !== event.pointerId) return;
    if (held.isOld && !held.isMoved) {
      points.splice(held.number, 1);
      update();
    }
    held = null;
  });
  root.addEventListener("pointercancel", () => (held = null));

  step.addEventListener("input", draw);
  const [x, y] = names.map(() => element("input", { type: "number", step: "any" }));
  const add = (event) => {
    event.preventDefault();
    if (x.value === "" || y.value === "") return;
    tried(() => {
      const point = [Number(x.value), Number(y.value)];
      if (within(point[0], range) !== point[0] || within(point[1], heights) !== point[1]) {
        const ends = [range, heights].map(([low, high]) => `${low.toPrecision(3)} to ${high.toPrecision(3)}`);
        throw new Refused(`A point must lie in the picture: ${ends[0]} across, ${ends[1]} up.`);
      }
      points.push(point);
      return update();
    });
  };
  update();
  return [
    element("h2", {}, "A few points make a function"),
    element(
      "p",
      {},
      "Click to set a point, drag it to move it, click it to remove it. The dashed line is the model before it has seen any point. The blue line is the model after a few gradient steps on the points.",
    ),
    root,
    element(
      "div",
      { class: "legend" },
      element("span", { class: "of-before" }, "before"),
      element("span", { class: "of-between" }, "on the way"),
      element("span", {}, "after the steps"),
      element("span", { class: "of-point" }, "points"),
      ...(model.has_pretrained
        ? [element("span", { class: "of-pretrained" }, "the same network pretrained, adapted to the points")]
        : []),
    ),
    ...(model.num_inner_steps
      ? [element("div", { class: "row" }, element("label", { for: "step" }, "Inner steps"), step, stepName)]
      : []),
    status,
    element(
      "form",
      { class: "row", onsubmit: add },
      "A point by its numbers:",
      element("label", {}, names[0], " ", x),
      element("label", {}, names[1], " ", y),
      element("button", {}, "add"),
      element("button", { type: "button", onclick: () => (points.splice(0), update()) }, "remove all"),
    ),
  ];
}
