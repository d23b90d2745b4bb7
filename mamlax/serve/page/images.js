// Draw an example of each class, draw another: which class is it?

import { atStep, COMPUTING, element, latest, Refused, tried } from "./parts.js";
import { pathOf, postForm } from "./service.js";

const SIDE = 140;
const ASKED_SIDE = 210;
const STROKE = 0.035; // of the side: about as wide as Omniglot's
const MOST_CLASSES = 5;
const KEYS = "Draw with mouse or finger, or by keys: arrows move the pen (with Shift in small steps), the space bar lowers and lifts it, Delete clears.";
const PRETRAINED =
  "The thin bars are of the same network trained on all classes at once, without meta-learning, and then adapted to your drawings by gradient descent.";
const TOO_MANY = "The pretrained network is not shown: its head has fewer classes.";

// A canvas to draw on, or to drop a picture on.
function pad(side, label, changed) {
  const canvas = element("canvas", {
    width: side,
    height: side,
    role: "application",
    "aria-roledescription": "drawing pad",
    "aria-describedby": "keys",
    tabindex: 0,
    title: KEYS,
  });
  const context = canvas.getContext("2d");
  const dot = element("span", { class: "pen", "aria-hidden": "true" });
  const one = { canvas, box: element("div", { class: "pad" }, canvas, dot), isEmpty: true };

  let isDown = false; // the pen that keys move
  one.clear = () => {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, side, side);
    one.isEmpty = true;
    name();
  };
  const name = () =>
    canvas.setAttribute("aria-label", `${label()}: ${isDown ? "the pen is down" : one.isEmpty ? "empty" : "drawn"}`);
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

  const line = (from, to) => {
    context.strokeStyle = "#000";
    context.lineWidth = STROKE * side;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to); // a line to where it begins is a dot
    context.stroke();
  };

  let last = null;
  let finger = null; // that draws: another one does not
  canvas.addEventListener("pointerdown", (event) => {
    if (last !== null) return;
    canvas.setPointerCapture(event.pointerId);
    finger = event.pointerId;
    last = at(event);
    line(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === null || event.pointerId !== finger) return;
    const next = at(event);
    line(last, next);
    last = next;
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (last === null || event.pointerId !== finger) return;
      done();
      last = null;
    });
  }

  // By keys: arrows move a pen, the space bar lowers and lifts it, Delete clears.
  let pen = null;
  const mark = () => {
    const share = (value) => `${(100 * value) / side}%`;
    dot.style.cssText = pen === null ? "" : `display: block; left: ${share(pen[0])}; top: ${share(pen[1])}`;
    dot.classList.toggle("down", isDown);
    name();
  };
  const lift = () => {
    if (isDown) done();
    isDown = false;
    mark();
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = side / (event.shiftKey ? 40 : 12);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) {
      const next = (pen ?? [side / 2, side / 2]).map((value, i) => Math.min(Math.max(value + moves[event.key][i], 0), side));
      if (isDown) line(pen, next);
      pen = next;
    } else if (event.key === " ") {
      pen ??= [side / 2, side / 2];
      if (isDown) lift();
      else {
        isDown = true;
        line(pen, pen);
      }
    } else if (event.key === "Delete" || event.key === "Backspace") {
      isDown = false;
      one.clear();
      changed();
    } else return;
    event.preventDefault();
    mark();
  });
  canvas.addEventListener("blur", () => {
    lift();
    pen = null;
    mark();
  });

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
  const aboutPretrained = element("p", { class: "quiet" }, PRETRAINED);
  const step = element("input", { type: "range", min: 0, max: model.num_inner_steps, value: model.num_inner_steps, id: "step" });
  const stepName = element("output", { for: "step" });
  const more = element("button", { onclick: () => addClass() }, "add class");
  const mostSaid = element("span", { class: "quiet" });
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
    const names = new Set(form.getAll("label"));
    if (names.size < count) throw new Refused("Two classes have the same name. Give each its own.");
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
      adaptedId = null;
      draw();
      isChanged = false; // what is drawn from here on changes it again
      try {
        adaptedId = await adapted();
      } catch (error) {
        isChanged = true; // so that the next stroke tries again
        draw();
        throw error;
      }
    }
    try {
      answer = await answered();
    } catch (error) {
      if (error.status !== 404) throw error;
      adaptedId = await adapted(); // nobody used it for long, and it was let go
      answer = await answered();
    } finally {
      draw(); // also without an answer: the last one was of other drawings
    }
  }, () => (hint.textContent = COMPUTING));

  const adapt = () => {
    isChanged = true;
    return update();
  };

  function draw() {
    stepName.textContent = `${step.value} of ${model.num_inner_steps}`;
    const known = classes.filter(({ pads }) => pads.some((one) => !one.isEmpty));
    const names = answer?.classes ?? known.map(({ name }) => name.value);
    const chances = answer?.by_step[step.value][0] ?? names.map(() => null);
    const best = chances.indexOf(Math.max(...chances));
    const ofPretrained = answer === null ? null : atStep(model, answer.pretrained_by_step, Number(step.value))?.[0];
    aboutPretrained.textContent = answer !== null && !ofPretrained ? (answer.pretrained_said ?? TOO_MANY) : PRETRAINED;
    const bar = (label, kind, chance) => {
      const filled = element("span");
      filled.style.cssText = `width: ${100 * (chance ?? 0)}%`;
      return [
        label,
        element("div", { class: `bar ${kind}` }, filled),
        element("output", {}, chance === null ? "" : `${(100 * chance).toFixed(0)} %`),
      ];
    };
    bars.replaceChildren(
      ...names.flatMap((name, i) => [
        ...bar(element("span", {}, name), answer !== null && i === best ? "best" : "", chances[i]),
        ...(ofPretrained ? bar(element("span", { class: "quiet" }, "pretrained"), "beside", ofPretrained[i]) : []),
      ]),
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
      examples.append(element("div", {}, made.box, ...chooser(made, words)));
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
          element("button", { onclick: addPad }, "add example"),
        ),
      ),
    );
    more.disabled = classes.length >= most;
    mostSaid.textContent = more.disabled ? `This model tells at most ${most} classes apart.` : "";
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
      `${kind} one example of each class. The model adapts to them in ${model.num_inner_steps} gradient step${model.num_inner_steps === 1 ? "" : "s"}. Then it classifies the next drawing.`,
    ),
    ...(model.has_pretrained ? [aboutPretrained] : []),
    board,
    element("p", { id: "keys", class: "quiet" }, KEYS),
    element("div", { class: "row" }, more, mostSaid),
    element("h2", {}, "Which one is this?"),
    element(
      "div",
      { class: "ask" },
      element(
        "div",
        {},
        asked.box,
        element(
          "div",
          { class: "row" },
          element("button", { onclick: () => (asked.clear(), update()) }, "clear"),
          ...chooser(asked, "A picture to ask about"),
        ),
      ),
      element("div", {}, hint, bars, element("div", { class: "row" }, element("label", { for: "step" }, "Inner steps"), step, stepName)),
    ),
  ];
}
