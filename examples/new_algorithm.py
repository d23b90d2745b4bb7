"""A new learner of the family from public parts: an initialization that forgets what is in the way.

What    the worked example of docs/developer/new-algorithm.md, with the checks any learner needs.
Run     python examples/new_algorithm.py            (--smoke: seconds)
Takes   about a minute on one processor core
Expect  TODO
"""

# --8<-- [start:imports]
import sys
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import mamlax

# --8<-- [end:imports]
num_outer_steps = 20 if "--smoke" in sys.argv else 10_000


# --8<-- [start:learner]
class Attenuated(NamedTuple):
    """The meta-parameters: an initialization, and the network that says how much of it to keep."""

    model: Any
    attenuation: Any  # [1, leaves] -> [1, leaves]


def l2f(loss_fn, **options) -> mamlax.MetaLearner:
    """φ₀ = γ ∘ θ with a factor γₗ = 2 sigmoid(network(mean gradients))ₗ for each leaf l of θ."""

    def start_fn(params, support):
        theta, rest = eqx.partition(params.model, eqx.is_inexact_array)
        gradient = jax.grad(lambda x: loss_fn(eqx.combine(x, rest), support))(theta)
        means = jnp.stack([jnp.mean(g) for g in jax.tree.leaves(gradient)])
        factors = 2 * jax.nn.sigmoid(params.attenuation(means[None])[0])
        leaves, structure = jax.tree.flatten(theta)
        kept = [factor * leaf for factor, leaf in zip(factors, leaves, strict=True)]
        return params._replace(model=eqx.combine(structure.unflatten(kept), rest))

    return mamlax.maml(
        lambda params, batch: loss_fn(params.model, batch),
        where=lambda params: params.model,
        start_fn=start_fn,
        **options,
    )


# --8<-- [end:learner]
def loss_fn(model, batch):
    return jnp.mean((model(batch.inputs) - batch.targets) ** 2)


def make_params(attenuation_scale=None):
    model = mamlax.models.mlp(jax.random.key(0), 1, 1)
    num_leaves = len(jax.tree.leaves(model))
    return Attenuated(
        model,
        mamlax.models.mlp(
            jax.random.key(1), num_leaves, num_leaves, weight_scale=attenuation_scale
        ),
    )


# --8<-- [start:checks]
options = {"inner_optimizer": optax.sgd(0.01), "num_inner_steps": 2}
learner, plain = l2f(loss_fn, **options), mamlax.maml(loss_fn, **options)
sinusoids = mamlax.Sinusoids(shots=10)
few = mamlax.sample_tasks(sinusoids.sample, jax.random.key(2), 2)

# a network of zeros keeps all: it is MAML
params = make_params(attenuation_scale=0.0)
(loss, _), gradient = eqx.filter_jit(learner.meta_gradient)(params, few)
(plain_loss, _), plain_gradient = eqx.filter_jit(plain.meta_gradient)(params.model, few)
assert jnp.allclose(loss, plain_loss)
# (not the gradient: there the network's input, too, depends on θ)

# its gradient is that of its loss, for the network too
report = mamlax.check_meta_gradient(learner, make_params(), few)
assert report.passed, report
# --8<-- [end:checks]
