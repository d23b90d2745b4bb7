"""Your own model, loss and tasks: the level of a drug in the blood of a patient never seen.

What    a patient is a task: learn from many how levels decay, then adapt to five samples of one.
Run     python examples/bring_your_own_model.py            (--smoke: seconds)
Takes   MINUTES
Expect  NUMBER
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import mamlax

num_outer_steps = 10 if "--smoke" in sys.argv else 10_000


# --8<-- [start:tasks]
def sample_task(key):  # key -> Task, in jax.numpy: it is compiled into the outer step
    patient_key, support_key, query_key = jax.random.split(key, 3)
    height, rate = jax.random.uniform(patient_key, (2,), minval=0.5, maxval=2.0)

    def measure(key, num_samples):
        hours = jax.random.uniform(key, (num_samples, 1), maxval=3.0)
        return {"hours": hours, "level": height * jnp.exp(-rate * hours)}

    return mamlax.Task(support=measure(support_key, 5), query=measure(query_key, 20))


# --8<-- [end:tasks]
# --8<-- [start:dict]
def predict(params, hours):
    hidden = jnp.tanh(hours @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss_fn(params, batch):
    return jnp.mean((predict(params, batch["hours"]) - batch["level"]) ** 2)


key1, key2 = jax.random.split(jax.random.key(0))
params = {
    "w1": jax.random.normal(key1, (1, 32)),
    "b1": jnp.zeros(32),
    "w2": 0.1 * jax.random.normal(key2, (32, 1)),
    "b2": jnp.zeros(1),
}
# --8<-- [end:dict]
# --8<-- [start:train]
learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.1), num_inner_steps=3)
loop = mamlax.outer_loop(learner, optax.adam(1e-3), sample_task, meta_batch_size=16)
trained = mamlax.run(loop, params, key=jax.random.key(1), num_outer_steps=num_outer_steps)
# --8<-- [end:train]
# --8<-- [start:adapt]
patient = sample_task(jax.random.key(2))  # in life: the samples you have of a new patient
adapted = learner.adapt(trained.state.meta_params, patient.support, num_inner_steps=10).params
levels = predict(adapted, jnp.array([[1.0], [2.0], [3.0]]))
# --8<-- [end:adapt]
print("predicted levels after 1, 2 and 3 hours:", np.round(levels[:, 0], 2))

# --8<-- [start:evaluate]
new_patients = mamlax.sample_tasks(sample_task, jax.random.key(3), 600)
curves = mamlax.adaptation_curves(learner, loss_fn, num_inner_steps=10)
for point in mamlax.summarize(curves(trained.state.meta_params, new_patients))[::5]:
    print(f"query MSE after {point.num_inner_steps:2} inner steps: {point.mean:.4f}")
# --8<-- [end:evaluate]


# --8<-- [start:equinox]
def equinox_loss(model, batch):
    return jnp.mean((jax.vmap(model)(batch["hours"]) - batch["level"]) ** 2)


equinox_model = eqx.nn.MLP(1, 1, 32, 2, jnp.tanh, key=jax.random.key(0))
# --8<-- [end:equinox]
# --8<-- [start:nnx]
nnx_model = nnx.Sequential(nnx.Linear(1, 32, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(32, 1, rngs=nnx.Rngs(1)))
graph, nnx_params = nnx.split(nnx_model)


def nnx_loss(params, batch):
    model = nnx.merge(graph, params)
    return jnp.mean((model(batch["hours"]) - batch["level"]) ** 2)


# --8<-- [end:nnx]
# --8<-- [start:inner]
momentum = optax.sgd(0.05, momentum=0.9)
adam = optax.adam(0.01, eps_root=1e-8)  # eps_root: the derivative of a square root at 0 is infinite
# --8<-- [end:inner]
# --8<-- [start:check]
patients = mamlax.sample_tasks(sample_task, jax.random.key(4), 2)
for loss, model, optimizer in ((equinox_loss, equinox_model, momentum), (nnx_loss, nnx_params, adam)):
    report = mamlax.check_meta_gradient(mamlax.maml(loss, inner_optimizer=optimizer, num_inner_steps=3), model, patients)
    assert report.passed, report
# --8<-- [end:check]
