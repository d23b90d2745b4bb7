// Which models there are, and the page for the kind of each.

import { element, tried } from "./parts.js";
import { get } from "./service.js";
import { imagesPage } from "./images.js";
import { curvesPage } from "./curves.js";
import { tablesPage } from "./tables.js";

const PAGES = { images: imagesPage, curve: curvesPage, table: tablesPage };
const main = document.getElementById("main");

let wanted = null;

async function open(name) {
  wanted = name;
  const model = await get(`/models/${encodeURIComponent(name)}`);
  if (wanted !== name) return;
  for (const button of document.querySelectorAll("#models button")) {
    button.setAttribute("aria-current", String(button.textContent === name));
  }
  document.title = `${name} · mamlax`;
  const card = element(
    "details",
    {},
    element("summary", {}, "What this model is"),
    element("pre", {}, model.card),
  );
  main.replaceChildren(...PAGES[model.kind](model), card);
}

const link = document.querySelector("header a");
if (link) link.href += location.hash; // the token stays in the address

await tried(async () => {
  const { models } = await get("/models");
  const buttons = models.map(({ name }) =>
    element("button", { onclick: () => tried(() => open(name)) }, name),
  );
  document.getElementById("models").replaceChildren(...buttons);
  await open(models[0].name);
}).then(() => {
  if (!document.getElementById("alert").hidden) main.replaceChildren();
});
