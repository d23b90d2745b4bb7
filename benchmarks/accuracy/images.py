"""Draw `docs/images/images.png`: accuracy against minutes of training, from the files of results.

    .venv/bin/python -m benchmarks.accuracy.images      # seconds

Minutes are those in compiled steps, pretraining included, on 2 processor cores which mostly had
other work. Each line goes from the accuracy after the inner steps that a run is judged by (a dot)
to that after ten.
"""

import json
from typing import Any, NamedTuple

from benchmarks import report


class Shown(NamedTuple):
    """A run in the figure.

    Attributes:
        file: of results.
        name: what it is called.
        judged: the number of inner steps that it is judged by.
        before: the file of the run from whose weights it began, whose minutes count too.
    """

    file: str
    name: str
    judged: int
    before: str | None = None


PANELS = {
    "Omniglot, 20 ways, 1 shot (paper 95.8)": (
        95.8,
        [
            Shown("omniglot-20-way-1-shot-one-step-of-8.0", "MAML, 1,000 steps", 1),
            Shown("omniglot-20-way-1-shot", "MAML, 15,000 steps", 1),
            Shown("omniglot-20-way-1-shot-pretrained-1200-steps", "pretrained + MAML, 1,200", 1),
            Shown("omniglot-20-way-1-shot-proto-maml", "pretrained + ProtoMAML, 11,000", 1),
            Shown(
                "omniglot-20-way-1-shot-proto-maml-prolonged",
                "… and 4,500 more, shifted images",
                1,
                before="omniglot-20-way-1-shot-proto-maml",
            ),
        ],
    ),
    "Omniglot, 5 ways, 1 shot (paper 98.7)": (
        98.7,
        [
            Shown("omniglot-5-way-1-shot", "MAML, 27,000 steps", 3),
            Shown("omniglot-5-way-1-shot-family-maml", "MAML, 3,300", 3),
            Shown("omniglot-5-way-1-shot-family-proto-maml", "ProtoMAML, 3,100", 3),
            Shown("omniglot-5-way-1-shot-family-meta-sgd", "Meta-SGD, 3,600", 3),
            Shown("omniglot-5-way-1-shot-family-boil", "BOIL, 3,600", 3),
        ],
    ),
    "CIFAR-FS, 5 ways, 1 shot (MAML 58.9)": (
        58.9,
        [
            Shown("cifar-fs-5-way-1-shot-proto-maml-pretrained", "5 ways, 3 inner steps", 3),
            Shown("cifar-fs-5-way-1-shot-proto-maml-16-ways", "16 ways, no inner step, 2,500", 0),
            Shown("cifar-fs-5-way-1-shot-proto-maml", "… 6,000 outer steps", 0),
            Shown(
                "cifar-fs-5-way-1-shot-proto-maml-8000-steps-mirrored-centered",
                "… 8,000, mirrored and centered features",
                0,
            ),
        ],
    ),
}


def main() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    for axes, (title, (published, shown)) in zip(
        figure.subplots(1, len(PANELS)), PANELS.items(), strict=True
    ):
        axes.axhline(published, color="0.6", linestyle="--", linewidth=1)
        for one in shown:
            minutes, judged, after_ten = numbers(one)
            (line,) = axes.plot([minutes, minutes], [judged, after_ten], linewidth=1.5)
            axes.plot(minutes, judged, "o", color=line.get_color(), label=one.name)
        axes.set(title=title, xlabel="minutes of training", ylabel="accuracy on new classes, %")
        axes.set_ylim(top=100 if published > 90 else 64)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize=8)
    path = report.ROOT / "docs" / "images" / "images.png"
    figure.savefig(path, dpi=100)
    print(path.relative_to(report.ROOT))


def seconds_of(found: dict[str, Any]) -> float:
    return sum(found[part]["seconds"] for part in ("pretraining", "training") if part in found)


def numbers(one: Shown) -> tuple[float, float, float]:
    """Minutes, and accuracies as judged and after ten inner steps."""
    found = json.loads((report.RESULTS / f"{one.file}.json").read_text())
    seconds = seconds_of(found)
    if one.before is not None:
        seconds += seconds_of(json.loads((report.RESULTS / f"{one.before}.json").read_text()))
    points = found["evaluation"]["curve"]
    curve = {point["num_inner_steps"]: 100 * point["mean"] for point in points}
    return seconds / 60, curve[one.judged], curve[10]


if __name__ == "__main__":
    main()
