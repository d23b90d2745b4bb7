"""A film of a run: the same tasks before and after each inner step, side by side."""

from pathlib import Path
from typing import Any

import numpy as np

from .._errors import MamlaxError
from .._files import replacing
from ..rl.engines._renderer import render

_FRAMES_PER_SECOND = 20
_BORDER = 2
_HEADER = 14


def film(directory: Path, *, name: str = "maml") -> Path:
    """Write `figures/film.gif`: a row for each task, a column for each number of inner steps.

    Args:
        directory: a run directory of animals.
        name: "maml", or a baseline that it was compared with.

    Raises:
        MamlaxError: if the run has no episodes to show, or nothing can be drawn here.
    """
    path = directory / "examples.npz"
    examples = dict(np.load(path)) if path.exists() else {}
    if f"{name}/positions" not in examples:
        shown = sorted(key.split("/")[0] for key in examples if key.endswith("/positions"))
        raise MamlaxError(
            f"{directory} has no episodes of {name!r} to show; it has those of: "
            f"{', '.join(shown) or 'nothing (only runs of animals have some)'}."
        )
    positions = examples[f"{name}/positions"]  # [tasks, steps, time, nq]
    every = max(1, round(1 / (_FRAMES_PER_SECOND * float(examples["seconds_per_step"]))))
    positions = positions[:, :, ::every]
    model = str(examples["model"])
    panels = [
        [np.stack(list(render(model, episode))) for episode in episodes] for episodes in positions
    ]
    titles = ["before", *(f"after {count}" for count in examples["num_steps"][1:])]
    rows = [_goal(str(examples["goal"]), task) for task in examples["tasks"]]
    frames = [
        _frame([[panel[time] for panel in row] for row in panels], titles, rows)
        for time in range(positions.shape[2])
    ]
    target = directory / "figures" / "film.gif"
    target.parent.mkdir(exist_ok=True)
    with replacing(target) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=round(1000 * every * float(examples["seconds_per_step"])),
            loop=0,
        )
    return target


def _goal(goal: str, task: Any) -> str:
    if goal == "direction":
        return "forward" if task > 0 else "backward"
    if goal == "velocity":
        return f"{float(task):.1f} m/s"
    return "to ({:.1f}, {:.1f}) m".format(*task)


def _frame(pictures: list[list[np.ndarray]], titles: list[str], rows: list[str]) -> Any:
    """One picture of all panels, with words on each."""
    from PIL import Image, ImageDraw

    height, width = (size + _BORDER for size in pictures[0][0].shape[:2])
    size = (width * len(titles), (height + _HEADER) * len(rows))
    frame = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(frame)
    for row, (panels, goal) in enumerate(zip(pictures, rows, strict=True)):
        for column, (picture, title) in enumerate(zip(panels, titles, strict=True)):
            corner = (column * width, row * (height + _HEADER))
            pen.text((corner[0] + 4, corner[1] + 1), f"{goal}, {title}", fill="black")
            frame.paste(Image.fromarray(picture), (corner[0], corner[1] + _HEADER))
    return frame.quantize(64)
