# %% [markdown]
# # A table with groups
#
# A table has a column that says which machine a row belongs to. Each machine wears in its own way.
# For a new machine you have a few rows, and want to predict the rest. The model learns from the old
# machines how to adapt to a new one.
#
# This takes under a minute on one processor core.

# %%
# In Colab or a fresh environment, first:
#   pip install 'mamlax[tabular]'
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mamlax

# %% [markdown]
# ## The data
#
# Wear grows with temperature, in a curve that bends where the machine gets too hot. Where it bends,
# how far it rises, and what brass adds differ between machines.


# %%
def measurements(num_machines, rows_each, seed):
    """A made-up table: a curve of temperature, what the material adds, and noise."""
    rng = np.random.default_rng(seed)
    bend, rise = rng.normal(60.0, 6.0, num_machines), rng.uniform(2.0, 6.0, num_machines)
    brass = rng.normal(1.0, 0.5, num_machines)
    machine = np.repeat(np.arange(num_machines), rows_each)
    temperature = rng.normal(60.0, 10.0, len(machine))
    material = rng.choice(["steel", "brass"], len(machine))
    wear = rise[machine] * np.tanh((temperature - bend[machine]) / 8)
    wear += brass[machine] * (material == "brass") + rng.normal(0.0, 0.2, len(machine))
    columns = {"machine": machine, "temperature": temperature, "material": material}
    return pd.DataFrame({**columns, "wear": wear})


columns = ["temperature", "material"]
table = measurements(num_machines=40, rows_each=30, seed=0)
table.head()

# %% [markdown]
# Six of the machines. One curve for all would be wrong for each of them.

# %%
for machine, rows in table[table["machine"] < 6].groupby("machine"):
    plt.scatter(rows["temperature"], rows["wear"], s=12, label=f"machine {machine}")
plt.xlabel("temperature")
plt.ylabel("wear")
plt.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Learn from all machines
#
# `fit` holds machines out to judge the model, then learns from all. The report compares the adapted
# model with simpler ones, on the same rows of machines held out. Its last sentence is the verdict:
# read it before you use the model.

# %%
model = mamlax.FewShotRegressor(num_outer_steps=200, random_state=0)
model.fit(table[columns], table["wear"], groups=table["machine"])
print(model.report())

# %% [markdown]
# ## Adapt to a new machine
#
# `adapt` returns a new model, fitted to the rows you have. The first model does not change.

# %%
new = measurements(num_machines=1, rows_each=60, seed=1)
support, query = new[:8], new[8:]
adapted = model.adapt(support[columns], support["wear"])
for name, one in (("before adapting", model), ("adapted to 8 rows", adapted)):
    error = np.mean((one.predict(query[columns]) - query["wear"]) ** 2)
    print(f"{name}: mean squared error {error:.2f}")

# %% [markdown]
# `predict_interval` says how sure the model is. Nine in ten rows should lie in the band.

# %%
line = pd.DataFrame({"temperature": np.linspace(35, 85, 60), "material": "steel"})
lower, upper = adapted.predict_interval(line, coverage=0.9)
plt.fill_between(line["temperature"], lower, upper, alpha=0.2, label="90 % interval")
plt.plot(line["temperature"], adapted.predict(line), label="adapted")
plt.plot(line["temperature"], model.predict(line), "--", color="gray", label="before adapting")
for rows, name, size in ((query, "other rows", 12), (support, "the 8 rows", 50)):
    steel = rows[rows["material"] == "steel"]
    plt.scatter(steel["temperature"], steel["wear"], s=size, label=f"{name} (steel)", zorder=3)
plt.xlabel("temperature")
plt.ylabel("wear")
plt.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Adapt to many machines at once
#
# One call adapts to each of a thousand machines. Another predicts rows of all, each by its own
# machine.

# %%
many = measurements(num_machines=1000, rows_each=10, seed=2)
all_adapted = model.adapt_many(many[columns], many["wear"], groups=many["machine"])
predicted = all_adapted.predict(many[columns], groups=many["machine"])
print(f"{len(predicted)} rows of {many['machine'].nunique()} machines")

# %% [markdown]
# ## Keep it
#
# One file, without pickle. Reading it runs no code.

# %%
model.save("wear.safetensors")
again = mamlax.load("wear.safetensors").adapt(support[columns], support["wear"])
assert np.array_equal(again.predict(query[columns]), adapted.predict(query[columns]))
