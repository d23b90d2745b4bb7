"""A model of a table as a program: where it runs, JAX and NumPy are all that is needed.

What    fits machines, each of which wears with temperature in its own way, exports the model, and
        calls the program with rows of a new machine by what the JSON beside it says.
Run     python examples/exported_program.py                (--smoke: seconds)
Takes   half a minute on two processor cores
Expect  the program's two predictions, and the same from the model, to 4 digits
"""

import json
import subprocess
import sys

import jax
import numpy as np
import pandas as pd

import mamlax

num_outer_steps = 20 if "--smoke" in sys.argv else 1_000

rng = np.random.default_rng(0)
machine = np.repeat(np.arange(60), 60)
table = pd.DataFrame(
    {
        "temperature": rng.normal(60.0, 10.0, 3600),
        "material": rng.choice(["steel", "brass"], 3600),
    }
)
offset, slope = rng.normal(0.0, 2.0, 60)[machine], rng.normal(0.1, 0.05, 60)[machine]
y = offset + slope * table["temperature"] + (table["material"] == "brass")
table.loc[rng.random(3600) < 0.05, "temperature"] = np.nan

model = mamlax.FewShotRegressor(num_outer_steps=num_outer_steps, compare=False, random_state=0)
model.fit(table, y, groups=machine)
model.save("wear.safetensors")
export = ["export", "wear.safetensors", "--format", "stablehlo", "--out", "wear.stablehlo"]
subprocess.run([sys.executable, "-m", "mamlax", *export], check=True)

# --8<-- [start:call]
with open("wear.stablehlo", "rb") as file:
    program = jax.export.deserialize(bytearray(file.read()))
with open("wear.stablehlo.json") as file:
    beside = json.load(file)


def inputs_of(rows):
    """Rows, a dictionary each, as the program's numbers; a value of None is missing."""
    numbers = np.zeros((len(rows), beside["inputs"]["shape"][1]), np.float32)
    for line, row in zip(numbers, rows, strict=True):
        for column in beside["columns"]["columns"]:
            value, (first, end) = row[column["name"]], column["places"]
            if column["kind"] == "categories":
                line[first:end] = [value == category for category in column["categories"]]
            elif value is not None:
                scaled = (value - column["mean"]) / column["scale"]
                line[first] = np.clip(scaled, -column["limit"], column["limit"])
            elif column["has_missing"]:
                line[first + 1] = 1
    return numbers


support = [
    {"temperature": 50.0, "material": "steel"},
    {"temperature": None, "material": "brass"},
    {"temperature": 71.0, "material": "steel"},
]
wear = np.array([[9.1], [12.4], [11.3]])
query = [{"temperature": 62.0, "material": "brass"}, {"temperature": None, "material": "steel"}]

mean, scale = np.array(beside["targets"]["mean"]), np.array(beside["targets"]["scale"])
outputs = program.call(
    inputs_of(support),
    ((wear - mean) / scale).astype(np.float32),
    np.ones(len(support), np.float32),
    inputs_of(query),
)
predictions = np.asarray(outputs) * scale + mean
print(predictions[:, 0])
# --8<-- [end:call]

adapted = model.adapt(pd.DataFrame(support), wear[:, 0])
expected = adapted.predict(pd.DataFrame(query))
print(expected)
np.testing.assert_allclose(predictions[:, 0], expected, rtol=1e-4)
