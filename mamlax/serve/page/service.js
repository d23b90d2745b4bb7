// Requests to the service that this page came from. The token, if there is one, stands in the
// address of the page after #token=, which browsers do not send.

const token = new URLSearchParams(location.hash.slice(1)).get("token");

export class Refused extends Error {
  constructor(words, status = 0) {
    super(words);
    this.status = status;
  }
}

async function answerOf(path, options = {}) {
  const headers = { ...options.headers };
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused("The service does not answer. Is it still running?");
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Refused(found.error ?? `The service answered ${response.status}.`, response.status);
  }
  return found;
}

export const get = (path) => answerOf(path);

export const postJson = (path, body) =>
  answerOf(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

export const postForm = (path, form) => answerOf(path, { method: "POST", body: form });

export const pathOf = (model, what) => `/models/${encodeURIComponent(model.name)}/${what}`;

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

// One at a time: what is asked for while it works is done once more afterwards, with what is then.
export function latest(work) {
  let isWorking = false;
  let isAsked = false;
  return async () => {
    isAsked = true;
    if (isWorking) return;
    isWorking = true;
    while (isAsked) {
      isAsked = false;
      await tried(work);
    }
    isWorking = false;
  };
}

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
