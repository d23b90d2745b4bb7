# %% [markdown]
# # Your own model, loss and data
#
# You need two functions: a loss, and one that draws a task. Here a task is a patient: from five
# samples of blood, predict the level of a drug at all other times.
#
# This takes under a minute on one processor core.

# %%
# In Colab or a fresh environment, first:
#   pip install 'mamlax[cli]'
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import mamlax

# %% [markdown]
# ## 1. Draw tasks
#
# A task has data to adapt to (the support) and data to judge on (the query). A batch may be any
# nested dict, list or tuple of arrays; only your loss reads it. The function is compiled: write it
# in `jax.numpy`, and take random numbers from `key` alone.


# %%
def sample_task(key):
    patient_key, support_key, query_key = jax.random.split(key, 3)
    height, rate = jax.random.uniform(patient_key, (2,), minval=0.5, maxval=2.0)

    def measure(key, num_samples):
        hours = jax.random.uniform(key, (num_samples, 1), maxval=3.0)
        return {"hours": hours, "level": height * jnp.exp(-rate * hours)}

    return mamlax.Task(support=measure(support_key, 5), query=measure(query_key, 20))


patients = mamlax.sample_tasks(sample_task, jax.random.key(3), 600)
for index in range(6):
    plt.scatter(patients.query["hours"][index], patients.query["level"][index], s=12)
plt.xlabel("hours")
plt.ylabel("level")
plt.title("six patients")
plt.show()

# %% [markdown]
# ## 2. Write the loss
#
# It takes parameters and a batch, and returns one number. Any Equinox module is parameters; so is a
# dict of arrays, or what Flax NNX splits off.

# %%
model = eqx.nn.MLP(1, 1, width_size=32, depth=1, activation=jnp.tanh, key=jax.random.key(0))


def predict(model, hours):
    return jax.vmap(model)(hours)


def loss_fn(model, batch):
    return jnp.mean((predict(model, batch["hours"]) - batch["level"]) ** 2)


# %% [markdown]
# ## 3. Train
#
# Inner steps adapt to one patient. Outer steps improve the starting point over many.

# %%
learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.05), num_inner_steps=3)
loop = mamlax.outer_loop(learner, optax.adam(1e-3), sample_task, meta_batch_size=16)
log = []
trained = mamlax.run(
    loop, model, key=jax.random.key(1), num_outer_steps=5_000, log_interval=100, report=log.append
)
plt.plot([line["step"] for line in log], [line["train/query_loss"] for line in log])
plt.xlabel("outer step")
plt.ylabel("query loss")
plt.show()

# %% [markdown]
# ## 4. Adapt to a new patient, and predict
#
# `adapt` returns adapted parameters, of the same structure.

# %%
meta_params = trained.state.meta_params
patient = sample_task(jax.random.key(12))
adapted = eqx.filter_jit(learner.adapt)(meta_params, patient.support).params

hours = jnp.linspace(0, 3, 50)[:, None]
plt.plot(hours, predict(meta_params, hours), "--", color="gray", label="before adapting")
plt.plot(hours, predict(adapted, hours), label="after 3 inner steps")
plt.scatter(patient.query["hours"], patient.query["level"], s=12, label="other samples")
plt.scatter(patient.support["hours"], patient.support["level"], s=50, label="the 5 samples")
plt.xlabel("hours")
plt.ylabel("level")
plt.legend()
plt.show()

# %% [markdown]
# How good is it? The error on 600 new patients, after each number of inner steps:

# %%
curves = eqx.filter_jit(mamlax.adaptation_curves(learner, loss_fn, num_inner_steps=10))
for point in mamlax.summarize(curves(meta_params, patients))[::5]:
    print(f"MSE after {point.num_inner_steps} inner steps: {point.mean:.4f} ± {point.ci95:.4f}")

# %% [markdown]
# ## 5. Check the meta-gradient
#
# Is the gradient through the inner steps right for *your* model and loss? This compares it with
# finite differences in float64. Put it into a test.

# %%
few = mamlax.sample_tasks(sample_task, jax.random.key(4), 2)
report = mamlax.check_meta_gradient(learner, model, few)
print(report)
assert report.passed
