"""A table with a column that says which machine a row belongs to; then a machine that is new.

What    each machine wears with temperature in its own way. Fits 60 machines, adapts to new ones
        from a few rows, asks whether something simpler would do, saves the model and reads it back.
Run     python examples/table_with_groups.py               (--smoke: seconds)
Takes   half a minute on two processor cores
Expect  with 5 rows of a new machine a squared error of 0.009 of the variance; a model of these
        rows alone has 0.016, pooled + offset 0.025, trees with their mean as a column 0.06
"""

import sys

import numpy as np
import pandas as pd

import mamlax

num_outer_steps = 20 if "--smoke" in sys.argv else 1_000


def measurements(num_machines, rows_each, seed):
    """A made-up table: wear = offset + slope · temperature + what the material adds, and noise."""
    rng = np.random.default_rng(seed)
    machine = np.repeat(np.arange(num_machines), rows_each)
    table = pd.DataFrame(
        {
            "machine": machine,
            "temperature": rng.normal(60.0, 10.0, len(machine)),
            "material": rng.choice(["steel", "brass"], len(machine)),
        }
    )
    offset, slope = rng.normal(0.0, 2.0, num_machines), rng.normal(0.1, 0.05, num_machines)
    brass = rng.normal(1.0, 0.5, num_machines)[machine] * (table["material"] == "brass")
    noise = rng.normal(0.0, 0.2, len(machine))
    table["wear"] = offset[machine] + slope[machine] * table["temperature"] + brass + noise
    return table


table = measurements(num_machines=60, rows_each=60, seed=0)
columns = ["temperature", "material"]

# learn from all machines
model = mamlax.FewShotRegressor(num_outer_steps=num_outer_steps, random_state=0)
model.fit(table[columns], table["wear"], groups=table["machine"])
print(model.report())

# a new machine, of which there are ten rows
new = measurements(num_machines=1, rows_each=40, seed=1)
support, query = new[:10], new[10:]
adapted = model.adapt(support[columns], support["wear"])
for name, one in (("before adapting", model), ("after", adapted)):
    error = np.mean((one.predict(query[columns]) - query["wear"]) ** 2)
    print(f"{name}: mean squared error {error:.3f}")

# thousands of machines in one call
many = measurements(num_machines=1000, rows_each=10, seed=2)
all_adapted = model.adapt_many(many[columns], many["wear"], groups=many["machine"])
print(all_adapted.predict(many[columns], groups=many["machine"]).shape)

# one file, without pickle; it runs no code when it is read
adapted.save("machine.safetensors")
again = mamlax.load("machine.safetensors")
assert np.array_equal(again.predict(query[columns]), adapted.predict(query[columns]))
