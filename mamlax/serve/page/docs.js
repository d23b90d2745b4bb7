// The OpenAPI document in words.

import { element, tried } from "./parts.js";
import { get } from "./service.js";

function fieldsOf(schema, sometimes) {
  const fields = Object.entries(schema.properties).map(([name, about]) => {
    const type = about.enum ? about.enum.join(", ") : [about.type].flat().join(" or ");
    const which = schema.required.includes(name) ? "" : `, ${sometimes}`;
    const words = about.description ?? about.items?.type ?? "";
    return element("li", {}, element("code", {}, name), ` (${type}${which}) ${words}`);
  });
  return element("ul", {}, ...fields);
}

document.querySelector("header a").href += location.hash;

await tried(async () => {
  const found = await get("/openapi.json");
  document.getElementById("about").textContent = found.info.description;
  const operations = [];
  for (const [path, { parameters, ...methods }] of Object.entries(found.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      operations.push(element("h3", {}, `${method.toUpperCase()} ${path}`), element("p", {}, one.summary));
      for (const [kind, { schema }] of Object.entries(one.requestBody?.content ?? {})) {
        operations.push(element("p", { class: "quiet" }, `takes ${kind}`), fieldsOf(schema, "optional"));
      }
      const { schema } = one.responses["200"].content["application/json"];
      operations.push(element("p", { class: "quiet" }, "gives application/json"), fieldsOf(schema, "not always"));
    }
  }
  document.getElementById("operations").replaceChildren(...operations);
});
