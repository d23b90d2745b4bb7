// What every page is made of.

export class Refused extends Error {
  constructor(words, status = 0) {
    super(words);
    this.status = status;
  }
}

export function say(error) {
  const alert = document.getElementById("alert");
  alert.hidden = !error;
  alert.textContent = error ? error.message : "";
  if (error && !(error instanceof Refused)) console.error(error);
}

// Does what is asked for, and shows what goes wrong.
export async function tried(work) {
  try {
    await work();
    say(null);
  } catch (error) {
    say(error);
  }
}

const SLOW = 300; // milliseconds after which a person wonders

// One at a time: what is asked for while it works is done once more afterwards, with what is then.
// `tell` is called where it takes long, as where a program is compiled; `work` ends what it shows.
export function latest(work, tell) {
  let isWorking = false;
  let isAsked = false;
  return async () => {
    isAsked = true;
    if (isWorking) return;
    isWorking = true;
    while (isAsked) {
      isAsked = false;
      const timer = setTimeout(tell, SLOW);
      await tried(work);
      clearTimeout(timer);
    }
    isWorking = false;
  };
}

// What the pretrained network says after a step of the model beside it. It takes as many steps, or
// none where no step size helped it. Beside a model that takes none it takes its own number.
export function atStep(model, steps, step) {
  if (!steps) return undefined;
  const last = steps.length - 1;
  return steps[model.num_inner_steps ? Math.min(step, last) : last];
}

export const COMPUTING = "The model computes. The first time takes longest …";

// element("p", { class: "quiet" }, "text", otherElement)
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
