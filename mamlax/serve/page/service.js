// Requests to the service that this page came from. The token, if there is one, stands in the
// address of the page after #token=, which browsers do not send.

import { Refused } from "./parts.js";

const START = "#token=";
const token = location.hash.startsWith(START) ? location.hash.slice(START.length) : null;

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
