"""A saved model in words, without making it ready to run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._errors import printable
from .._files import Json
from ..config._algorithms import ALGORITHMS, SolvedHead
from ._adapted_many import AdaptedMany
from ._container import header_errors, read_container
from ._images import FewShotImageClassifier
from ._policy import FewShotPolicy
from ._pooled import WORDS
from ._pretrained import PRETRAINED
from ._report import report_from_json


def description_of(path: Path) -> str:
    """What a file holds, as lines of text.

    Raises:
        MamlaxError: as `load`.
    """
    header, arrays = read_container(path)
    with header_errors(path):
        text = "\n".join(_lines(header, arrays))
    return printable(text)  # a file from elsewhere must not steer the terminal


def _lines(header: Json, arrays: Mapping[str, Any]) -> list[str]:
    if header["kind"] == AdaptedMany.__name__:
        names = list(map(str, header["groups"]))
        number = f"{len(names)} task{'s' * (len(names) != 1)}: {', '.join(names[:8])}"
        number += ", ..." * (len(names) > 8)
        lines = _lines({"mamlax": header["mamlax"], **header["estimator"]}, arrays)
        return [
            f"  adapted to    {number}" if line.startswith("  adapted to ") else line
            for line in lines
        ]
    if header["kind"] == FewShotPolicy.__name__:
        return _of_policy(header, arrays)
    learner = header["learner"]
    algorithm = (
        learner["algorithm"]["name"] if "algorithm" in learner else (learner["recipe"]["algorithm"])
    )
    architecture = dict(learner["architecture"])
    num_params = sum(array.size for name, array in arrays.items() if name.startswith("meta"))
    lines = [
        f"{header['kind']}, written by mamlax {header['mamlax']}",
        f"  algorithm     {algorithm}, {_steps(algorithm, learner['num_inner_steps'])}",
        f"  network       {architecture.pop('name')}, {num_params:,} numbers: "
        + ", ".join(f"{name}={value}" for name, value in architecture.items()),
    ]
    if PRETRAINED in header:
        lines.append("  beside it     the same network pretrained on all tasks together")
    if header["kind"] == FewShotImageClassifier.__name__:
        lines += _of_images(header, dict(learner["architecture"]))
    else:
        lines += _of_table(header)
    if header.get("report") is not None:
        lines += ["", str(report_from_json(header["report"]))]
    return lines


def _steps(algorithm: str, number: int) -> str:
    """How it adapts."""
    steps = f"{number} inner step{'s' * (number != 1)}"
    if issubclass(ALGORITHMS[algorithm], SolvedHead):
        more = f"and {steps} after that" if number else "and no inner step is taken after that"
        return f"whose head is solved for on the support, {more}"
    return f"{steps} to adapt"


def _of_policy(header: Json, arrays: Mapping[str, Any]) -> list[str]:
    environment, action = dict(header["environment"]), dict(header["action"])
    name, kind = environment.pop("name"), action.pop("kind")
    settings = ", ".join(f"{key}={value}" for key, value in environment.items())
    options = ", ".join(f"{key}={value}" for key, value in action.items())
    algorithm, summary = header["algorithm"], header["summary"]
    learned = [array for key, array in arrays.items() if not key.startswith("policy.moments")]
    num_params = sum(array.size for array in learned)
    normalized = ""
    if header["network"].get("normalize_observations"):
        count = int(arrays["policy.moments.count"])
        normalized = f", normalized by the mean and deviation of {count:,} seen in training"
    lines = [
        f"{header['kind']}, written by mamlax {header['mamlax']}",
        f"  environment   {name}: {settings}",
        f"  observations  {header['observation_size']} numbers{normalized}",
        f"  actions       {kind}: {options}",
        f"  algorithm     {algorithm['name']}, inner learning rate "
        f"{algorithm['inner_learning_rate']}; {header['num_inner_steps']} inner steps taken",
        f"  network       {num_params:,} numbers",
    ]
    if recipe := summary.get("recipe"):
        lines.insert(1, f"  recipe        {recipe}, outer step {summary['outer_step']}")
    if returns := summary.get("returns"):
        shown = ", ".join("diverged" if value is None else f"{value:.1f}" for value in returns)
        lines.append(f"  returns       {shown} after 0, 1, … inner steps, on held-out tasks")
    return lines


def _of_images(header: Json, network: Json) -> list[str]:
    summary, support = header["summary"], header.get("support")
    height, width, channels = network["image_shape"]
    kind = {1: "grey", 3: "in color"}.get(channels, f"of {channels} channels")
    lines = [
        f"  trained as    {summary['recipe']}, outer step {summary['outer_step']}",
        f"  takes         images of {height} × {width} pixels, {kind}; what is predicted for one "
        "does not depend on the others",
    ]
    if "num_classes" in summary:
        lines.append(f"  learned from  {summary['num_classes']} classes")
    if found := summary.get("accuracy"):
        interval = "" if found["ci95"] is None else f" ± {100 * found['ci95']:.1f}"
        lines.append(
            f"  judged on     {found['num_tasks']} tasks of {found['ways']} new classes, "
            f"{found['shots']} image{'s' * (found['shots'] != 1)} of each: accuracy "
            f"{100 * found['mean']:.1f}{interval} %"
        )
    adapted = "nothing yet"
    if support is not None:
        names = ", ".join(map(str, support["classes"][:8])) + ", ..." * (
            len(support["classes"]) > 8
        )
        adapted = f"{support['num_images']} images of {len(support['classes'])} classes: {names}"
    return [*lines, f"  adapted to    {adapted}"]


def _of_table(header: Json) -> list[str]:
    attributes, targets = header["attributes"], header["targets"]
    groups = attributes["num_groups_"]
    names = ", ".join(header["target_names"] or ["the target"])
    what = f"a class of {targets['classes']}" if targets["kind"] == "classes" else "numbers"
    support = attributes["num_support_"]
    lines = [f"  predicts      {names}: {what}"]
    if tasks := header.get("task_names"):
        lines.append(f"  a task is     one {', '.join(tasks)}")
    by_order = "          columns of any name, in this order; the target's is called target"
    if (pooled := header["learner"].get("pooled")) is not None:
        lines.append(f"  starts from   {WORDS[pooled]}")
    lines.append("  from" + ("" if header["columns"]["named"] else by_order))
    for column in header["columns"]["columns"]:
        about = f"numbers, mean {column['mean']:.4g}, deviation {column['scale']:.4g}"
        if column["categories"]:
            shown = ", ".join(column["categories"][:8])
            about = f"{len(column['categories'])} categories: {shown}"
            about += ", ..." * (len(column["categories"]) > 8)
        lines.append(f"    {column['name']:<20} {about}")
    if groups:
        others = {"chosen by": groups["validation"], "judged on": groups["test"]}
        more = "".join(f", {what} {number}" for what, number in others.items() if number)
        step = attributes["outer_step_"]
        lines.append(f"  learned from  {groups['train']} tasks{more}; outer step {step}")
    lines.append(f"  adapted to    {f'{support} rows' if support else 'nothing yet'}")
    return lines
