"""How much of a policy's gradient is signal: `results/gradient_signal.json`.

    .venv/bin/python -m benchmarks.accuracy.gradient_signal      # about 10 minutes on 2 cores

An inner step of MAML follows the gradient of 20 episodes of one task. Here an untrained policy acts
in many batches of 20 episodes, and for each way of estimating advantages the file has

- `signal`: the length of the mean gradient beside the standard deviation of one batch's, both
  without bias. Twice the signal is worth four times the episodes.
- `cosine`: of one batch's gradient with the mean of the others' at λ = 1 with the linear baseline,
  which is what the policy gradient theorem asks for. λ < 1 trades a bias for less noise: where its
  cosine is the larger one, the bias costs less than the noise it saves.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

from benchmarks import report

NUM_EPISODES = 20
WAYS = {
    "lambda 1": {},
    "lambda 0.97": {"gae_lambda": 0.97},
    "lambda 0.95": {"gae_lambda": 0.95},
    "lambda 0.9": {"gae_lambda": 0.9},
    "lambda 0.8": {"gae_lambda": 0.8},
    "lambda 1, no baseline": {"baseline": None},
    "lambda 1, ridge 1": {"baseline": 1.0},
    "lambda 0.95, ridge 1": {"gae_lambda": 0.95, "baseline": 1.0},
    "lambda 1, auto-reset": {"auto_reset": True},
    "lambda 0.95, auto-reset": {"gae_lambda": 0.95, "auto_reset": True},
    "lambda 0.95, auto-reset, ridge 1": {"gae_lambda": 0.95, "auto_reset": True, "baseline": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--output", type=Path, default=report.RESULTS / "gradient_signal.json")
    args = parser.parse_args()
    from mamlax import rl

    machine = report.machine()
    bodies = {"half-cheetah-direction": rl.HalfCheetah(), "ant-direction": rl.Ant()}
    results = {name: signals(env, args.batches) for name, env in bodies.items()}
    content = {"batches": args.batches, "episodes": NUM_EPISODES, "results": results}
    report.write_report(args.output, {"machine": machine, **content})


def signals(env: Any, num_batches: int) -> dict[str, Any]:
    """`{way: {signal, cosine, explained_variance, steps}}` of one environment, running forward."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.flatten_util import ravel_pytree

    from mamlax import rl

    policy = rl.mlp_policy(jax.random.key(0), env)

    @functools.partial(jax.jit, static_argnames=("gae_lambda", "baseline", "auto_reset"))
    def one(key, gae_lambda=1.0, baseline=1e-5, auto_reset=False):
        fit = None if baseline is None else functools.partial(rl.linear_baseline, ridge=baseline)
        trajectory = rl.rollout(
            key, env, jnp.array(1.0), policy, num_episodes=NUM_EPISODES, auto_reset=auto_reset
        )
        experience = rl.estimate_advantages(trajectory, gae_lambda=gae_lambda, baseline_fn=fit)
        gradient = eqx.filter_grad(rl.log_likelihood)(policy, experience)
        steps = jnp.sum(trajectory.mask)
        return ravel_pytree(gradient)[0], experience.explained_variance, steps

    keys, found, others = jax.random.split(jax.random.key(1), num_batches), {}, np.zeros(0)
    for name, way in WAYS.items():
        drawn = [jax.device_get(one(key, **way)) for key in keys]
        gradients, explained, steps = (
            np.stack(each).astype(float) for each in zip(*drawn, strict=True)
        )
        if not found:
            others = (gradients.sum(0) - gradients) / (num_batches - 1)
        square, mean = (gradients**2).sum(1).mean(), gradients.mean(0)
        length = max(0.0, (mean @ mean - square / num_batches) / (1 - 1 / num_batches))
        norms = np.linalg.norm(gradients, axis=1) * np.linalg.norm(others, axis=1)
        cosines = (gradients * others).sum(1) / norms
        found[name] = {
            "signal": round(float(np.sqrt(length / (square - length))), 4),
            "cosine": round(float(cosines.mean()), 4),
            "cosine_ci95": round(float(1.96 * cosines.std() / np.sqrt(num_batches)), 4),
            "explained_variance": round(float(explained.mean()), 3),
            "steps": round(float(steps.mean())),
        }
        print(type(env).__name__, name, found[name], flush=True)
    return found


if __name__ == "__main__":
    main()
