// Draw an example of each class, draw another: which class is it?

import { element, latest, tried } from "./parts.js";
import { pathOf, postForm } from "./service.js";

const SIDE = 140;
const ASKED_SIDE = 210;
const STROKE = 0.035; // of the side: about as wide as Omniglot's
const MOST_CLASSES = 5;

// A canvas to draw on, or to drop a picture on.
function pad(side, label, changed) {
  const canvas = element("canvas", { width: side, height: side, role: "img", tabindex: 0 });
  const context = canvas.getContext("2d");
  const one = { canvas, isEmpty: true };

  one.clear = () => {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, side);
    one.isEmpty = true;
    name();
  };
  const name = () =>
    canvas.setAttribute("aria-label", `${label()}: ${one.isEmpty ? "empty" : "drawn"}`);
  const done = () => {
    one.isEmpty = false;
    name();
    changed();
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = side / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };

  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    context.fillStyle = "#000";
    context.beginPath();
    context.arc(...last, (STROKE * side) / 2, 0, 2 * Math.PI);
    context.fill();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === null) return;
    const next = at(event);
    context.strokeStyle = "#000";
    context.lineWidth = STROKE * side;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...next);
    context.stroke();
    last = next;
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (last !== null) done();
      last = null;
    });
  }

  // A photograph: its middle, as large as fits.
  one.show = async (file) => {
    const picture = await createImageBitmap(file);
    const size = Math.min(picture.width, picture.height);
    const [x, y] = [(picture.width - size) / 2, (picture.height - size) / 2];
    one.clear(); // pictures may be transparent
    context.drawImage(picture, x, y, size, size, 0, 0, side, side);
    done();
  };
  canvas.addEventListener("dragover", (event) => {
    event.preventDefault();
    canvas.classList.add("over");
  });
  canvas.addEventListener("dragleave", () => canvas.classList.remove("over"));
  canvas.addEventListener("drop", (event) => {
    event.preventDefault();
    canvas.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) tried(() => one.show(file));
  });
  one.file = () => new Promise((give) => canvas.toBlob(give, "image/png"));
  one.clear();
  return one;
}

function chooser(one, words) {
  const input = element("input", {
    type: "file",
    accept: "image/*",
    "aria-label": words,
    hidden: true,
    onchange: async () => {
      if (input.files[0]) await tried(() => one.show(input.files[0]));
      input.value = ""; // so that the same file can be chosen again
    },
  });
  return [input, element("button", { title: words, onclick: () => input.click() }, "picture …")];
}

export function imagesPage(model) {
  const most = model.ways ?? 20;
  const classes = [];
  let adaptedId = null;
  let answer = null;
  let isChanged = false;

  const board = element("div", { class: "classes" });
  const bars = element("div", { class: "bars", "aria-live": "polite" });
  const hint = element("p", { class: "quiet" });
  const step = element("input", { type: "range", min: 0, max: model.num_inner_steps, value: model.num_inner_steps, id: "step" });
  const stepName = element("output", { for: "step" });
  const more = element("button", { onclick: () => addClass() }, "another class");
  const asked = pad(ASKED_SIDE, () => "what is asked about", () => update());

  // The id of the model adapted to what is drawn; null where that is too little.
  async function adapted() {
    const form = new FormData();
    let count = 0;
    for (const { pads, name } of classes) {
      const drawn = pads.filter((one) => !one.isEmpty);
      count += drawn.length > 0;
      for (const one of drawn) {
        form.append("image", await one.file(), "image.png");
        form.append("label", name.value);
      }
    }
    return count < 2 ? null : (await postForm(pathOf(model, "adapt"), form)).id;
  }

  async function answered() {
    if (adaptedId === null || asked.isEmpty) return null;
    const form = new FormData();
    form.append("id", adaptedId);
    form.append("image", await asked.file(), "image.png");
    return postForm(pathOf(model, "predict"), form);
  }

  const update = latest(async () => {
    answer = null;
    if (isChanged) {
      isChanged = false;
      adaptedId = null;
      draw();
      adaptedId = await adapted();
    }
    try {
      answer = await answered();
    } catch (error) {
      if (error.status !== 404) throw error;
      adaptedId = await adapted(); // nobody used it for long, and it was let go
      answer = await answered();
    }
    draw();
  });

  const adapt = () => {
    isChanged = true;
    return update();
  };

  function draw() {
    stepName.textContent = `after ${step.value} of ${model.num_inner_steps} inner steps`;
    const known = classes.filter(({ pads }) => pads.some((one) => !one.isEmpty));
    const names = answer?.classes ?? known.map(({ name }) => name.value);
    const chances = answer?.by_step[step.value][0] ?? names.map(() => null);
    const best = chances.indexOf(Math.max(...chances));
    bars.replaceChildren(
      ...names.flatMap((name, i) => {
        const share = chances[i] === null ? "" : `${(100 * chances[i]).toFixed(0)} %`;
        const width = `width: ${100 * (chances[i] ?? 0)}%`;
        const filled = element("span");
        filled.style.cssText = width;
        const isBest = answer !== null && i === best;
        return [
          element("span", {}, name),
          element("div", { class: isBest ? "bar best" : "bar" }, filled),
          element("output", {}, share),
        ];
      }),
    );
    hint.textContent =
      known.length < 2
        ? "Draw an example of two classes or more."
        : asked.isEmpty
          ? "Now draw another one of these here."
          : "";
  }

  function addClass() {
    const number = classes.length + 1;
    const name = element("input", {
      type: "text",
      value: `class ${number}`,
      "aria-label": `Name of class ${number}`,
      onchange: () => adapt(),
    });
    const one = { name, pads: [] };
    const examples = element("div", { class: "examples" });
    const addPad = () => {
      const which = one.pads.length + 1;
      const made = pad(SIDE, () => `${name.value}, example ${which}`, () => adapt());
      one.pads.push(made);
      const words = `A picture as example ${which} of class ${number}`;
      examples.append(element("div", {}, made.canvas, element("br"), ...chooser(made, words)));
    };
    addPad();
    const clear = () => {
      for (const made of one.pads) made.clear();
      adapt();
    };
    classes.push(one);
    board.append(
      element(
        "section",
        { class: "class", "aria-label": `Class ${number}` },
        name,
        examples,
        element(
          "div",
          { class: "row" },
          element("button", { onclick: clear }, "clear"),
          element("button", { onclick: addPad }, "another example"),
        ),
      ),
    );
    more.disabled = classes.length >= most;
  }

  for (let i = 0; i < Math.min(most, MOST_CLASSES); i++) addClass();
  step.addEventListener("input", draw);
  draw();
  const kind = model.is_drawing ? "Draw" : "Drop a photograph as";
  return [
    element("h2", {}, "Show it once"),
    element(
      "p",
      {},
      `${kind} one example of each class. The model adapts to them in ${model.num_inner_steps} gradient step${model.num_inner_steps === 1 ? "" : "s"}; then it tells which class the next one is of.`,
    ),
    board,
    element("div", { class: "row" }, more),
    element("h2", {}, "Which one is this?"),
    element(
      "div",
      { class: "ask" },
      element(
        "div",
        {},
        asked.canvas,
        element(
          "div",
          { class: "row" },
          element("button", { onclick: () => (asked.clear(), update()) }, "clear"),
          ...chooser(asked, "A picture to ask about"),
        ),
      ),
      element("div", {}, hint, bars, element("label", { for: "step" }, "Inner steps "), step, " ", stepName),
    ),
  ];
}
