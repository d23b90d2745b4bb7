// In the place of requests to a service: models that run in this browser, as ONNX programs.

import * as ort from "./ort.wasm.min.mjs";
import { pixelsOf } from "./pictures.js";
import { Refused } from "./parts.js";

ort.env.wasm.numThreads = 1; // more need headers that not every server sends
ort.env.logLevel = "error";
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

const sessions = new Map(); // by file
const supports = new Map(); // of images, the last of each model, with its id
let count = 0;

async function fetched(name) {
  const response = await fetch(encodeURIComponent(name)).catch(() => null);
  if (!response?.ok) throw new Refused(`${name} is not beside this page.`);
  return response;
}

// Once for all who ask; again if it failed.
let models = null;
const listed = () => {
  models ??= fetched("models.json").then((response) => response.json());
  models.catch(() => (models = null));
  return models;
};

function sessionOf(file) {
  if (!sessions.has(file)) {
    const made = fetched(file)
      .then((response) => response.arrayBuffer())
      .then((bytes) => ort.InferenceSession.create(new Uint8Array(bytes), { logSeverityLevel: 3 }));
    made.catch(() => sessions.delete(file));
    sessions.set(file, made);
  }
  return sessions.get(file);
}

// The program of a model; of so many classes, where its head is made for them.
const fileOf = ({ program }, ways) => program.files.find(([, one]) => one === null || one === ways)[0];

// What a program of the model says of queries after 0, 1, … inner steps: [steps][queries][outputs].
async function outputs(model, file, inputs, targets, weights, queries) {
  const session = await sessionOf(file);
  const { shape, targets_shape: width, targets_type: kind } = model.program;
  const numbers = kind === "int32" ? Int32Array : Float32Array;
  const tensor = (values, size) => new ort.Tensor("float32", Float32Array.from(values.flat()), size);
  const { outputs: answer } = await session.run({
    support_inputs: tensor(inputs, [inputs.length, ...shape]),
    support_targets: new ort.Tensor(kind, numbers.from(targets), [targets.length, ...width]),
    support_weights: tensor(weights, [weights.length]),
    query_inputs: tensor(queries, [queries.length, ...shape]),
  });
  const [steps, rows, each] = answer.dims;
  return Array.from({ length: steps }, (_, step) =>
    Array.from({ length: rows }, (_, row) => {
      const start = (step * rows + row) * each;
      return Array.from(answer.data.slice(start, start + each));
    }),
  );
}

// Of a model of one column: numbers as the network has them, and back.
const scaled = ({ mean, scale, limit }, value) =>
  Math.min(Math.max((value - mean) / scale, -limit), limit);

async function steps(model, { rows, targets, queries }) {
  const [column] = model.program.columns;
  const more = Array(model.program.shape[0] - 1).fill(0); // that nothing is missing
  const inputs = (those) => those.map(([value]) => [scaled(column, value), ...more]);
  const [mean] = model.means;
  const [scale] = model.scales;
  const isEmpty = rows.length === 0; // a row of weight zero stands for no row
  const by = async (file) => {
    const answer = await outputs(
      model,
      file,
      isEmpty ? inputs([[column.mean]]) : inputs(rows),
      isEmpty ? [0] : targets.map((value) => (value - mean) / scale),
      isEmpty ? [0] : rows.map(() => 1),
      inputs(queries),
    );
    return answer.map((step) => step.map(([value]) => value * scale + mean));
  };
  const found = { predictions: await by(fileOf(model)) };
  const { pretrained } = model.program;
  return pretrained && !isEmpty ? { ...found, pretrained: await by(pretrained.file) } : found;
}

const softmax = (values) => {
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const total = powers.reduce((sum, one) => sum + one, 0);
  return powers.map((one) => one / total);
};

async function picturesOf(model, form) {
  return Promise.all(form.getAll("image").map((file) => pixelsOf(file, model)));
}

// As Python sorts text: by code points.
const byCodePoints = (one, other) => {
  const [left, right] = [one, other].map((text) => [...text].map((letter) => letter.codePointAt(0)));
  const at = left.findIndex((code, i) => code !== right[i]);
  return at < 0 ? left.length - right.length : left[at] - (right[at] ?? -1);
};

async function adapt(model, form) {
  const labels = form.getAll("label");
  const classes = [...new Set(labels)].sort(byCodePoints);
  if (classes.length > model.ways) {
    throw new Refused(`This model tells at most ${model.ways} classes apart.`);
  }
  const images = await picturesOf(model, form);
  const id = String(count++);
  const targets = labels.map((label) => classes.indexOf(label));
  supports.set(model.name, { id, images, classes, targets });
  return { id, num_support: images.length, classes };
}

async function predict(model, form) {
  const support = supports.get(model.name);
  if (support?.id !== form.get("id")) throw new Refused("Other drawings came since then.", 404);
  const { images, classes, targets } = support;
  const weights = images.map(() => 1);
  const queries = await picturesOf(model, form);
  const by = async (file) => {
    const answer = await outputs(model, file, images, targets, weights, queries);
    return answer.map((step) => step.map((row) => softmax(row.slice(0, classes.length))));
  };
  const found = { classes, by_step: await by(fileOf(model, classes.length)) };
  const { pretrained } = model.program;
  if (!pretrained || classes.length > pretrained.most_classes) return found;
  return { ...found, pretrained_by_step: await by(pretrained.file) };
}

export async function get(path) {
  const [, , name] = path.split("/");
  const all = await listed();
  return name === undefined ? { models: all } : all.find((one) => one.name === decodeURIComponent(name));
}

export async function postJson({ model, what }, body) {
  if (what === "steps") return steps(model, body);
  const { predictions } = await steps(model, { rows: [], targets: [], queries: body.rows });
  return { predictions: predictions[0] };
}

export const postForm = ({ model, what }, form) =>
  what === "adapt" ? adapt(model, form) : predict(model, form);

export const pathOf = (model, what) => ({ model, what });
