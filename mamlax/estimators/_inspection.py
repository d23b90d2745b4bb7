"""A saved model in words, without making it ready to run."""

from pathlib import Path
from typing import Any

from ._learner_file import making_sense_of, read_header_and_arrays
from ._report import report_from_json


def description_of(path: Path) -> str:
    """What a file holds, as lines of text.

    Raises:
        MamlaxError: as `load`.
    """
    header, arrays = read_header_and_arrays(path)
    with making_sense_of(path):
        text = "\n".join(_lines(header, arrays))
    # a stranger's file shall not speak to the terminal
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def _lines(header: dict[str, Any], arrays: dict[str, Any]) -> list[str]:
    learner, recipe = header["learner"], header["learner"]["recipe"]
    architecture = dict(learner["architecture"])
    num_params = sum(array.size for name, array in arrays.items() if name.startswith("meta"))
    lines = [
        f"{header['kind']}, written by mamlax {header['mamlax']}",
        f"  algorithm     {recipe['algorithm']}, {learner['num_inner_steps']} inner steps to adapt",
        f"  network       {architecture.pop('name')}, {num_params:,} numbers: "
        + ", ".join(f"{name}={value}" for name, value in architecture.items()),
    ]
    if "columns" in header:
        lines += _of_table(header)
    else:
        lines += [
            f"  trained as    {header['summary']['recipe']}, outer step "
            f"{header['summary']['outer_step']}",
            "  takes         images; what is predicted for one does not depend on the others",
        ]
    if header.get("report") is not None:
        lines += ["", str(report_from_json(header["report"]))]
    return lines


def _of_table(header: dict[str, Any]) -> list[str]:
    attributes, targets = header["attributes"], header["targets"]
    groups = attributes["num_groups_"]
    names = ", ".join(header["target_names"] or ["the target"])
    what = f"a class of {targets['classes']}" if targets["kind"] == "classes" else "numbers"
    support = attributes["num_support_"]
    lines = [f"  predicts      {names}: {what}", "  from"]
    for column in header["columns"]["columns"]:
        about = f"numbers, mean {column['mean']:.4g}, deviation {column['scale']:.4g}"
        if column["categories"]:
            shown = ", ".join(column["categories"][:8])
            about = f"{len(column['categories'])} categories: {shown}"
            about += ", ..." * (len(column["categories"]) > 8)
        lines.append(f"    {column['name']:<20} {about}")
    if groups:
        lines.append(
            f"  learned from  {groups['train']} tasks, chosen by {groups['validation']}, judged on "
            f"{groups['test']}; outer step {attributes['outer_step_']}"
        )
    lines.append(f"  adapted to    {f'{support} rows' if support else 'nothing yet'}")
    return lines
