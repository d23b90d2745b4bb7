"""Outer steps on whatever device JAX finds: `results/speed_accelerator.json`.

    .venv/bin/python -m benchmarks.speed.accelerator      # written for ten minutes of a GPU

For each recipe, in float32 and with a loss in bfloat16, every number of tasks at once that `mamlax
plan` tries, with its memory, its operations and its time. Images are random, so no data set is
needed. `benchmarks/accelerator.sh` runs the tests of an accelerator before.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import loops, report
from mamlax.config import RECIPES
from mamlax.config._recipe import Recipe
from mamlax.experiments import _plan

IMAGES = {  # the recipe whose network and inner loop it is, size, color, query images per class
    "omniglot-5-way-1-shot": (28, False, 1),
    "omniglot-20-way-1-shot": (28, False, 1),
    "mini-imagenet-5-way-1-shot": (84, True, 15),
    "mini-imagenet-5-way-5-shot": (84, True, 15),
}
OTHERS = ("sinusoid", "navigation-2d")
NUM_CLASSES = 60


def main() -> None:
    import jax

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no case after these")
    parser.add_argument(
        "--cases", nargs="+", default=[*OTHERS, *IMAGES], choices=[*OTHERS, *IMAGES]
    )
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_accelerator.json")
    args = parser.parse_args()
    machine, began = report.machine(), time.monotonic()
    device = jax.devices()[0]
    found: dict[str, Any] = {
        "device": {"kind": device.device_kind, "platform": device.platform},
        "machine": machine,
        "versions": {"mamlax": report.versions(*loops.PACKAGES)},
        "results": {},
        "left_out": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for case, recipe in cases(args.cases, Path(folder)):
            if time.monotonic() - began > 60 * args.minutes:
                found["left_out"].append(case)
                continue
            found["results"][case] = measured(recipe)
            print(case, found["results"][case]["best"], flush=True)
            report.write_report(args.output, found)


def cases(names: list[str], folder: Path) -> Iterator[tuple[str, Recipe]]:
    """Each recipe in both precisions, where it has a choice."""
    for name in names:
        recipe = RECIPES[name]
        if name in IMAGES:
            recipe = on_random_images(name, folder)
        yield f"{name}, float32", recipe
        if "compute_dtype" in recipe.settings:
            yield f"{name}, bfloat16", recipe.changed(compute_dtype="bfloat16")


def on_random_images(name: str, folder: Path) -> Recipe:
    """The recipe of a data set on a folder of noise in its size."""
    size, color, num_query = IMAGES[name]
    path = folder / str(size)
    if not path.exists():
        rng = np.random.default_rng(0)
        for c in range(NUM_CLASSES):
            (path / f"{c}").mkdir(parents=True)
            for i in range(20):
                shape = (size, size, 3) if color else (size, size)
                Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(
                    path / f"{c}" / f"{i}.png"
                )
    like, images = RECIPES[name], RECIPES["images"]
    shared = {
        field: value
        for group in ("problem", "training", "algorithm")
        for field, value in asdict(like.groups[group]).items()
        if field in images.settings
    }
    shared |= {"images": str(path), "image_size": size, "color": color, "num_query": num_query}
    return images.changed(**shared)


def measured(recipe: Recipe) -> dict[str, Any]:
    """What `mamlax plan` finds."""
    plan = _plan.plan(recipe, announce=print)
    return {"best": plan.best.flags, "choices": [choice._asdict() for choice in plan.choices]}


if __name__ == "__main__":
    main()
