"""A table to try `mamlax fit` on: the wear of 80 machines, and eight rows of a new one.

What    writes machines.csv; new_machine.csv, eight measurements of a machine that is not in it; and
        later.csv, what is to be predicted of that machine (with the wear, to compare). Wear grows
        with the hours, to another limit and at another speed in each machine; heat adds to it.
Run     python examples/table_of_machines.py [FOLDER]    (then the commands that it prints)
Takes   a second; fitting takes half a minute on two processor cores
Expect  that the adapted model is the best one with 1 row and more, and predictions of later.csv
        that are off by 0.8 (root mean square) where its wear has a standard deviation of 3.1
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd


def rows_of(machine, num_rows):
    """Measurements of a machine in random order."""
    rng = np.random.default_rng(machine)
    limit, speed, heat = rng.uniform(5, 25), rng.uniform(0.5, 3), rng.normal(0.05, 0.03)
    material = rng.choice(["steel", "brass"])
    hours, celsius = rng.uniform(0, 2_000, num_rows), rng.normal(60, 10, num_rows)
    grown = limit * (1 - np.exp(-speed * hours / 1_000)) * (1.2 if material == "brass" else 1)
    wear = grown + heat * (celsius - 60) + rng.normal(0, 0.5, num_rows)
    return pd.DataFrame(
        {
            "machine": f"M{machine:03}",
            "material": material,
            "hours": hours.round(),
            "celsius": celsius.round(1),
            "wear": wear.round(2),
        }
    )


folders = [word for word in sys.argv[1:] if not word.startswith("--")]
folder = Path(folders[0] if folders else ".")
folder.mkdir(parents=True, exist_ok=True)
new = rows_of(80, 40)
tables = {
    "machines": pd.concat([rows_of(machine, 30) for machine in range(80)]),
    "new_machine": new[:8],
    "later": new[8:],
}
for name, table in tables.items():
    table.to_csv(folder / f"{name}.csv", index=False)
machines, support, query = (folder / f"{name}.csv" for name in tables)
print(f"mamlax fit {machines} --task-column machine --target-column wear --out wear.safetensors")
print(f"mamlax adapt wear.safetensors --support {support} --query {query}")
