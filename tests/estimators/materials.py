"""What the tests of estimators are made of: a small table, files changed by hand, tiny pictures."""

import json
import re
import struct

import jax
import numpy as np
import pandas as pd
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from mamlax.config import RECIPES
from mamlax.estimators._container import digest_of
from mamlax.estimators._images import FewShotImageClassifier, Reading
from mamlax.estimators._learner import ArrayLearner, LearnerSettings
from mamlax.experiments._experiment import experiment_of
from mamlax.experiments._train import train_stage
from mamlax.experiments.problems._build import parts_of
from mamlax.records._description import RunDescription, open_run, read_run
from mamlax.records._evaluation import CurvePoint, Evaluation, write_evaluation

TINY = {"num_outer_steps": 20, "meta_batch_size": 4, "hidden_sizes": (8,), "random_state": 0}
OF_MACHINES = ("--task-column", "machine", "--target-column", "wear")
QUICK = ("--num-outer-steps", 50, "--max-support", 8)
# quicker to compile than the default
QUICK_CLASSES = (*QUICK, "--algorithm", "fomaml")
PAIR = ("--support", "support.csv", "--query", "query.csv")


def machines(num_machines=14, rows=12, seed=0):
    """Machines of one law and an offset of their own; speeds are missing here and there."""
    rng = np.random.default_rng(seed)
    machine = np.repeat(np.arange(num_machines), rows)
    speed = rng.normal(100, 10, len(machine))
    kind = rng.choice(["dry", "wet"], len(machine))
    wear = speed / 10 + 3 * (kind == "wet") + rng.normal(0, 2, num_machines)[machine]
    speed[rng.random(len(machine)) < 0.05] = np.nan
    names = np.array([f"machine {m:02}" for m in machine])
    return pd.DataFrame({"machine": names, "speed": speed, "kind": kind, "wear": wear})


def labelled(table):
    """The wear in words."""
    words = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    return table.assign(wear=words)


def fails(command, *arguments):
    """The line that a command ends with; before it stands at most what was read of a table, what
    was made of it, that a model will be replaced, and warnings."""
    status, out, err = command(*arguments)
    assert status == 1 and out == ""
    assert "Traceback" not in err
    *before, line = err.splitlines()
    said = [one for one in before if not one.startswith("warning: ")]
    of_data = re.compile(r" rows, | tasks \(|: \d+ files?, \d+ read|will be replaced\.$")
    assert all(of_data.search(one) for one in said) and len(said) <= 3
    assert line.startswith("error: ")
    return line


def header_of(path):
    """The JSON that a model's file holds beside its arrays."""
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["mamlax"])


def changed(path, out, *, header=None, arrays=None, is_signed=True):
    """The file written again, its header (or its dictionary of arrays) changed in place.

    With the digest of what is in it now, as somebody would write it who means harm; or with the
    one that it had.
    """
    with safe_open(path, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    words = header_of(path)
    if header is not None:
        header(words)
    if arrays is not None:
        arrays(found)
    if is_signed:
        digest = words.pop("sha256")
        words["sha256"] = digest_of(words, found)
        assert words["sha256"] != digest
    save_file(found, out, metadata={"mamlax": json.dumps(words)})
    return out


def contents_of(path):
    """The header of a safetensors file as its format says, and how many bytes it accounts for."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
    return header, 8 + length + max(ends)


def image_classifier(
    ways=3, algorithm="maml", *, channels=1, invert=True, side=6, norm="batch", **features
):
    """A classifier of images of 6×6 that has not been trained; its head is not zero."""
    recipe = RECIPES["omniglot-5-way-1-shot"].changed(algorithm=algorithm, inner_learning_rate=0.5)
    architecture = {
        "name": "conv4",
        "image_shape": (side, side, channels),
        "num_outputs": ways,
        "channels": 4,
        "downsample": "stride",
        "norm": norm,
        "context_size": 0,
        **features,
    }
    settings = LearnerSettings(
        tuple(architecture.items()), recipe.algorithm, "cross-entropy", 0.0, 5
    )
    params = settings.initial(jax.random.key(1))
    meta_params = jax.tree.map(np.asarray, settings.learner().init(params))
    summary = {"recipe": recipe.name, "outer_step": 0}
    return FewShotImageClassifier(
        ArrayLearner(settings, meta_params), Reading(True, invert), summary
    )


def drawings(num_classes=3, each=2, seed=0, side=6):
    """Patterns with a little noise, `[classes, each, side, side]` of bytes."""
    rng = np.random.default_rng(seed)
    patterns = 255.0 * (rng.random((num_classes, 1, side, side)) < 0.5)
    noisy = patterns + rng.normal(0, 20, (num_classes, each, side, side))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_classes(root, pictures, names="abcdefgh"):
    """A folder for each class."""
    for name, of_class in zip(names, pictures, strict=False):
        for number, pixels in enumerate(of_class):
            write_picture(root / name / f"{number}.png", pixels)
    return root


BRIEF = {
    "num_outer_steps": 4,
    "num_baseline_steps": 0,
    "log_interval": 4,
    "checkpoint_interval": 4,
    "validation_interval": None,
    "num_validation_inner_steps": None,
    "num_devices": 1,
}


def sinusoid_recipe(**settings):
    small = {"shots": 5, "hidden_sizes": (8,), "inner_learning_rate": 0.02, "meta_batch_size": 4}
    return RECIPES["sinusoid"].changed(**{**BRIEF, **small, **settings})


def omniglot_recipe(**settings):
    """3 ways, images of 6×6 and 4 channels."""
    small = {"ways": 3, "image_size": 6, "channels": 4, "meta_batch_size": 2}
    return RECIPES["omniglot-5-way-1-shot"].changed(**{**BRIEF, **small, **settings})


def train(recipe, directory, num_seeds=1):
    """A run directory; what the algorithm is compared with is not trained, nothing is evaluated."""
    open_run(directory, RunDescription(recipe, 0, num_seeds))
    parts = parts_of(recipe, None)
    experiment = experiment_of(recipe, parts, directory, num_seeds=num_seeds)
    train_stage(experiment, experiment.stages["main"])
    return directory


def write_evaluation_of(directory, means):
    """The `evaluation.json` of a run, as if these had been its means after 0, 1, … inner steps."""
    recipe = read_run(directory).recipe
    evaluation = Evaluation(
        recipe=recipe.name,
        algorithm=recipe.algorithm.name,
        metric="accuracy",
        num_tasks=600,
        num_seeds=1,
        transductive=False,
        outer_step=recipe.training.num_outer_steps,
        curve=[CurvePoint(steps, mean, 0.01) for steps, mean in enumerate(means)],
        baselines={},
        inner_learning_rates={},
    )
    write_evaluation(directory, evaluation)
