"""A trained run, read back to be used."""

from pathlib import Path
from typing import Any, NamedTuple

from .._types import MetaLearner
from ..rl import PolicyLearner
from ._experiment import experiment_in
from ._parts import Parts


class Trained(NamedTuple):
    """A trained run, ready to use.

    Attributes:
        learner: adapts: `learner.adapt(params, support).params`; a policy
            `learner.explore(key, params, task)`, which returns the episodes it used.
        params: the meta-learned initialization; with several seeds, the first one's.
        parts: the problem it was trained on: distributions, loss and metric.
    """

    learner: MetaLearner | PolicyLearner
    params: Any
    parts: Parts


def load_run(directory: str | Path, *, data_dir: str | None = None) -> Trained:
    """What a run of `mamlax train` has learned, to adapt to tasks of your own.

    Args:
        directory: the run directory.
        data_dir: where data sets are; see `omniglot`.

    Raises:
        MamlaxError: if the directory holds no trained run.

    Example:
        After `mamlax train sinusoid`::

            trained = mamlax.load_run("runs/sinusoid/0")
            model = trained.learner.adapt(trained.params, support, num_inner_steps=5).params
            predictions = model(inputs)
    """
    experiment = experiment_in(Path(directory), data_dir)
    main = experiment.stages["maml"]
    learned = experiment.learned(main, experiment.restore(main))
    return Trained(*experiment.ready(main, learned), experiment.parts)
