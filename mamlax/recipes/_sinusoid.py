"""The sinusoid problem: settings, and the parts made of them."""

from __future__ import annotations

from dataclasses import dataclass

from ._parts import Baseline, Parts


@dataclass(frozen=True)
class SinusoidProblem:
    """Regression of sine waves with random amplitude and phase."""

    shots: int = 10
    """Support examples per task."""
    num_query: int | None = None
    """Query examples per task; as many as shots where None."""
    hidden_sizes: tuple[int, ...] = (40, 40)
    """Width of each hidden layer."""
    weight_scale: float | None = None
    """Standard deviation of the initial weights (the paper's code: 0.01). None: √(2/inputs)."""
    context_size: int = 5
    """Numbers that adapt, for cavia."""

    def build(
        self, data_dir: str | None = None, *, has_context: bool = False, head_adapts: bool = True
    ) -> Parts:
        """Make the parts; no data is needed."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from .. import models
        from ..tasks._sinusoids import Sinusoids

        tasks = Sinusoids(shots=self.shots, num_query=self.num_query)
        told = Sinusoids(shots=self.shots, num_query=self.num_query, oracle=True)

        def init_params(key, num_inputs=1, context_size=0):
            return models.mlp(
                key,
                num_inputs,
                1,
                hidden_sizes=self.hidden_sizes,
                weight_scale=self.weight_scale,
                context_size=context_size,
            )

        def loss_fn(params, batch):
            return jnp.mean(jnp.square(params(batch.inputs) - batch.targets))

        def examples(adapters, steps):
            """Four waves: support, truth on a grid, and predictions before and after steps."""
            grid = jnp.linspace(*tasks.inputs, 201)[:, None]
            arrays = {"kind": np.array("sinusoid"), "grid": grid[:, 0], "num_steps": steps}
            waves = [(4.0, 0.5), (1.5, 2.0), (3.0, 2.8), (0.7, 1.2)]
            for index, (amplitude, phase) in enumerate(waves):
                x = jax.random.uniform(
                    jax.random.key(index), (self.shots, 1), minval=-5.0, maxval=5.0
                )
                support = tasks.wave(amplitude, phase, x)
                arrays[f"{index}/support_x"] = support.inputs[:, 0]
                arrays[f"{index}/support_y"] = support.targets[:, 0]
                arrays[f"{index}/truth"] = tasks.wave(amplitude, phase, grid).targets[:, 0]
                for name in adapters.keys() & {"maml", "pretrained"}:
                    adapted = [adapters[name](support, n) for n in steps]
                    arrays[f"{index}/{name}"] = jnp.stack([f(grid)[:, 0] for f in adapted])
            return arrays

        return Parts(
            init_params=lambda key: init_params(key, 1, self.context_size * has_context),
            loss_fn=loss_fn,
            metric="mse",
            metric_fn=loss_fn,
            train_tasks=tasks,
            validation_tasks=tasks,
            test_tasks=tasks,
            transductive=False,
            baselines={
                "pretrained": Baseline(init_params, tasks, tasks, tasks),
                "random": Baseline(init_params, None, tasks, tasks),
                "oracle": Baseline(lambda key: init_params(key, 3), told, told, told),
            },
            examples=examples,
        )
