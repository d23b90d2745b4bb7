// The OpenAPI document in words.

import { element, tried } from "./parts.js";
import { get } from "./service.js";

document.querySelector("header a").href += location.hash;

await tried(async () => {
  const found = await get("/openapi.json");
  document.getElementById("about").textContent = found.info.description;
  const operations = [];
  for (const [path, { parameters, ...methods }] of Object.entries(found.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      operations.push(element("h3", {}, `${method.toUpperCase()} ${path}`), element("p", {}, one.summary));
      for (const [kind, { schema }] of Object.entries(one.requestBody?.content ?? {})) {
        const fields = Object.entries(schema.properties).map(([name, about]) => {
          const needed = schema.required.includes(name) ? "" : ", optional";
          const words = about.description ?? about.items?.type ?? "";
          return element("li", {}, element("code", {}, name), ` (${about.type}${needed}) ${words}`);
        });
        operations.push(element("p", { class: "quiet" }, kind), element("ul", {}, ...fields));
      }
    }
  }
  document.getElementById("operations").replaceChildren(...operations);
});
