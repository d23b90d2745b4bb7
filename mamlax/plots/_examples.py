"""Support, query and predictions of a few tasks."""

from typing import Any

from ..records._examples import FewShotExamples, SinusoidExamples
from ._style import STEP_COLORS, after, bare_panels, label_of, legend_below


def sinusoids(examples: SinusoidExamples) -> Any:
    """Sine waves before and after adaptation, MAML and pretrained (the paper's figure 2).

    Args:
        examples: the content of an `examples.npz` of sine waves.
    """
    count, names = len(examples.truth), list(examples.predictions)
    figure, rows = bare_panels(
        len(names), count, 2.9 * count, 2.1 * len(names) + 0.6, sharex=True, sharey="col"
    )
    grid = examples.grid
    for row, name in zip(rows, names, strict=True):
        for index, axes in enumerate(row):
            axes.plot(grid, examples.truth[index], color="#d1495b", lw=1.2, label="truth")
            num_steps, curves = examples.num_steps, examples.predictions[name][index]
            colors = STEP_COLORS[: len(num_steps)]
            for steps, curve, color in zip(num_steps, curves, colors, strict=True):
                label = after(steps)
                style = "--" if steps == 0 else ":" if steps == 1 else "-"
                axes.plot(grid, curve, color=color, ls=style, lw=1.6, label=label)
            axes.plot(
                examples.support_x[index],
                examples.support_y[index],
                "^",
                color="#5b2a86",
                ms=5,
                label="support points",
            )
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(label_of(name, examples.algorithm), fontsize=11)
    legend_below(figure, *rows[0][0].get_legend_handles_labels(), ncols=5)
    return figure


def few_shot(examples: FewShotExamples) -> Any:
    """One classification task: its support images, and its query images with predictions.

    Args:
        examples: the content of an `examples.npz` of images.
    """
    ways = examples.ways
    images = {"support": examples.support_images, "query": examples.query_images}
    per_class = {side: one.reshape(ways, -1, *one.shape[1:]) for side, one in images.items()}
    probabilities = examples.probabilities
    probabilities = probabilities.reshape(len(probabilities), ways, -1, ways)
    shown = {side: images[:, : 5 if side == "query" else 1] for side, images in per_class.items()}
    num_rows = 1 + shown["query"].shape[1]
    figure, rows = bare_panels(num_rows, ways, max(1.15 * ways + 1.2, 3.4), 1.45 * num_rows + 0.8)
    for way in range(ways):
        rows[0][way].imshow(shown["support"][way, 0], cmap="gray", vmin=0, vmax=1)
        rows[0][way].set_title(f"class {way}", fontsize=9)
        for index in range(num_rows - 1):
            axes = rows[index + 1][way]
            axes.imshow(shown["query"][way, index], cmap="gray", vmin=0, vmax=1)
            guesses = probabilities[:, way, index]
            axes.set_xlabel(
                "\n".join(
                    f"{n}: class {guess.argmax()} ({guess.max():.0%})"
                    for n, guess in zip(examples.num_steps, guesses, strict=True)
                ),
                fontsize=6.5,
            )
            right = guesses[-1].argmax() == way
            for spine in axes.spines.values():
                spine.set(color="#2e933c" if right else "#d1495b", linewidth=2)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
    rows[0][0].set_ylabel("support", fontsize=9)
    rows[1][0].set_ylabel("query", fontsize=9)
    *first, last = map(str, examples.num_steps)
    title = [f"predictions after {', '.join(first)} and {last} inner steps;"]
    title += ["frame green where the last is right"]
    figure.suptitle(("\n" if ways < 4 else " ").join(title), fontsize=8)
    return figure
