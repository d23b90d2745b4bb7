// A file of a new group's rows, another of rows to predict for.

import { COMPUTING, element, latest } from "./parts.js";
import { pathOf, postForm } from "./service.js";

function drop(words, changed) {
  const input = element("input", { type: "file", accept: ".csv,text/csv" });
  const box = element("label", { class: "drop" }, element("strong", {}, words), element("br"), input);
  box.style.display = "block";
  box.addEventListener("dragover", (event) => {
    event.preventDefault();
    box.classList.add("over");
  });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    box.classList.remove("over");
    input.files = event.dataTransfer.files;
    changed();
  });
  input.addEventListener("change", changed);
  return { box, file: () => input.files[0] };
}

function columnsOf(model) {
  const rows = model.columns.map((one) => [
    one.name,
    one.categories
      ? one.categories.slice(0, 12).join(", ") + (one.categories.length > 12 ? ", …" : "")
      : one.parts
        ? "a date, as 2024-01-31T08:00"
        : `a number, usually ${one.mean.toPrecision(3)} ± ${one.scale.toPrecision(2)}`,
  ]);
  const targets = model.targets.map((name) => [
    name,
    model.classes ? `to predict, one of: ${model.classes.join(", ")}` : "to predict, a number",
  ]);
  return table(["column", "what it holds"], [...rows, ...targets]);
}

function table(names, rows, isNew = () => false) {
  const kind = (i) => ({ class: isNew(names[i]) ? "new" : "" });
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...names.map((name, i) => element("th", kind(i), name)))),
      element(
        "tbody",
        {},
        ...rows.map((row) =>
          element("tr", {}, ...row.map((cell, i) => element("td", kind(i), shown(cell)))),
        ),
      ),
    ),
  );
}

const shown = (cell) =>
  cell === null ? "" : typeof cell === "number" ? String(Number(cell.toPrecision(6))) : String(cell);

export function tablesPage(model) {
  const result = element("div", { "aria-live": "polite" });
  const [target] = model.targets;
  const support = drop(`A few rows of the new group, with ${target} (csv)`, () => predict());
  const query = drop("Rows to predict for (csv)", () => predict());
  let address = null;

  const predict = latest(async () => {
    result.replaceChildren(); // what stands there is of other files
    if (!support.file() || !query.file()) return;
    const form = new FormData();
    form.append("support", support.file());
    form.append("query", query.file());
    if (model.has_intervals) form.append("coverage", "0.9");
    const found = await postForm(pathOf(model, "table"), form).catch((error) => {
      result.replaceChildren();
      throw error;
    });
    if (address !== null) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([found.csv], { type: "text/csv" }));
    const isNew = (name) => /^(predicted|probability|lower|upper) /.test(name);
    const total = found.csv.trimEnd().split("\n").length - 1;
    result.replaceChildren(
      element("h3", {}, `Predictions, after adapting to ${found.num_support} rows`),
      ...found.said.map((line) => element("p", { class: "quiet" }, line)),
      element("p", {}, element("a", { href: address, download: "predictions.csv" }, "Download predictions.csv")),
      ...(model.has_intervals
        ? [element("p", { class: "quiet" }, "lower and upper: an interval that should hold the true value in 9 of 10 rows.")]
        : []),
      table(found.columns, found.rows, isNew),
      ...(total > found.rows.length ? [element("p", { class: "quiet" }, `The first ${found.rows.length} rows; the file has all.`)] : []),
    );
  }, () => result.replaceChildren(element("p", { class: "quiet" }, COMPUTING)));

  return [
    element("h2", {}, `Predict ${model.targets.join(", ")} of a group it has never seen`),
    support.box,
    query.box,
    result,
    element("h3", {}, "Columns"),
    columnsOf(model),
  ];
}
