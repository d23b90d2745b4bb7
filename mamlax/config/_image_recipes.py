"""Recipes of few-shot image classification."""

from typing import Any

from ._algorithms import Maml
from ._problems import CifarProblem, FolderProblem, MiniImageNetProblem, OmniglotProblem
from ._recipe import Evidence, Recipe, SupervisedRecipe, recipe_like
from ._training import Adam, EvaluationSettings, TrainingSettings

# The paper's settings, except for the outer learning rate. Its inner learning rates, 0.4 and 0.1,
# apply to a loss that its code sums over classes: N times the mean cross-entropy used here, for
# which the rate is 2.0.
_OMNIGLOT = SupervisedRecipe(
    name="omniglot",
    evidence=Evidence("", "Finn et al. 2017, table 1", ""),
    problem=OmniglotProblem(),
    algorithm=Maml(inner_learning_rate=2.0),
    outer_optimizer=Adam(outer_schedule="cosine"),
    training=TrainingSettings(
        meta_batch_size=32,
        num_outer_steps=60_000,
        num_baseline_steps=3_000,
        task_batch_size="auto",
        log_interval=50,
        checkpoint_interval=500,
    ),
    # the paper trains with one step and reports three
    evaluation=EvaluationSettings(validation_interval=1_000, num_validation_inner_steps=3),
)
# As with five ways: one step at the rate 0.4 of the paper's code, which is 20 times that here. In
# the same time the paper's five steps at 2.0 learn far less: docs/algorithms/maml.md.
_TWENTY_WAYS: dict[str, Any] = {
    "inner_learning_rate": 8.0,
    "num_validation_inner_steps": 1,  # after training with one step, more overshoot
    "num_baseline_inner_steps": 5,  # as in the paper for twenty ways
    "meta_batch_size": 16,
}
# Pretrained on all classes of training at once, the features are good from the first outer step on,
# and a head of class means needs no large inner rate: docs/images.md.
_PRETRAINED: dict[str, Any] = {
    **_TWENTY_WAYS,
    "init_from": "pretrained",
    "num_baseline_steps": 2_500,
    "num_outer_steps": 11_000,
}
_PHOTOGRAPHS = SupervisedRecipe(
    name="photographs",
    evidence=Evidence("", "Finn et al. 2017, table 1", ""),
    problem=MiniImageNetProblem(),
    # 0.01 in the paper, times the 5 classes that its code sums the loss over
    algorithm=Maml(inner_learning_rate=0.05, num_inner_steps=5),
    outer_optimizer=Adam(outer_schedule="cosine", gradient_clip=10.0),
    training=TrainingSettings(
        meta_batch_size=4,
        num_outer_steps=60_000,
        num_baseline_steps=10_000,
        task_batch_size="auto",
        log_interval=50,
        checkpoint_interval=500,
    ),
    evaluation=EvaluationSettings(validation_interval=1_000, num_validation_inner_steps=10),
)
# More ways in training than in the test, as prototypical networks do, and a head of class means
# that takes no inner step: docs/images.md.
_SMALL_PHOTOGRAPHS_PRETRAINED: dict[str, Any] = {
    "ways": 16,
    "test_ways": 5,
    "channels": 64,
    "flips": True,
    "crop_padding": 4,
    "mirrored_features": True,
    "centered_features": True,
    "num_inner_steps": 0,
    "inner_learning_rate": 0.005,  # in the evaluation: larger ones forget the class means
    "num_validation_inner_steps": 0,
    "num_validation_tasks": 200,
    "validation_interval": 500,
    "meta_batch_size": 2,
    "init_from": "pretrained",
    "num_baseline_steps": 16_000,
    "num_outer_steps": 6_000,
}
# Antoniou et al. 2019 and their code
_PLUS_PLUS: dict[str, Any] = {
    "algorithm": "maml-plus-plus",
    "paper": "Antoniou et al. 2019, table 2",
    "suffix": ", with MAML++",
    "inner_learning_rate": 0.01,
    "meta_batch_size": 2,
    "num_outer_steps": 50_000,
    "num_validation_inner_steps": 5,
    "num_multi_step_outer_steps": 7_500,
    "channels": 48,
}


def _omniglot(
    name: str, ways: int, shots: int, expected: str, *, suffix: str = "", **settings: Any
) -> Recipe:
    summary = f"Omniglot (handwritten characters), {ways}-way {shots}-shot{suffix}"
    return recipe_like(_OMNIGLOT, name, summary, expected, ways=ways, shots=shots, **settings)


def _mini_imagenet(
    shots: int, expected: str, *, variant: str = "", suffix: str = "", **settings: Any
) -> Recipe:
    summary = f"mini-ImageNet (photographs), 5-way {shots}-shot{suffix}"
    settings = {"meta_batch_size": 4 if shots == 1 else 2, **settings}  # as the paper
    name = f"mini-imagenet-5-way-{shots}-shot{variant}"
    return recipe_like(_PHOTOGRAPHS, name, summary, expected, shots=shots, **settings)


def _cifar(
    split: Any,
    shots: int,
    expected: str,
    paper: str,
    *,
    variant: str = "",
    suffix: str = "",
    **settings: Any,
) -> Recipe:
    is_random = split == "cifar-fs"
    kind = "CIFAR-FS (random classes" if is_random else "FC100 (whole superclasses"
    summary = f"{kind} of CIFAR-100 held out), 5-way {shots}-shot{suffix}"
    problem = CifarProblem(split=split, shots=shots)
    name = f"{split}-5-way-{shots}-shot{variant}"
    return recipe_like(
        _PHOTOGRAPHS, name, summary, expected, paper=paper, problem=problem, **settings
    )


IMAGE_RECIPES: tuple[Recipe, ...] = (
    _omniglot(
        "omniglot-5-way-1-shot",
        5,
        1,
        "98.7 ± 0.4 %",
        measured="99.1 ± 0.4 % after 3 steps (27,000 outer steps)",
        duration="48 minutes on 2 processor cores",
    ),
    _omniglot(
        "omniglot-5-way-5-shot",
        5,
        5,
        "99.9 ± 0.1 %",
        measured="99.4 ± 0.1 % after 1 step, 87.8 ± 2.1 % after 3 (8,000 outer steps)",
        duration="an hour of meta-training on 2 processor cores",
    ),
    _omniglot(
        "omniglot-20-way-1-shot",
        20,
        1,
        "95.8 ± 0.3 %",
        measured="95.6 ± 0.4 % after 1 step (15,000 outer steps)",
        duration="an hour of meta-training on 2 processor cores that had other work",
        **_TWENTY_WAYS,
    ),
    _omniglot(
        "omniglot-20-way-1-shot-proto-maml",
        20,
        1,
        "95.8 ± 0.3 % (MAML)",
        suffix=", with ProtoMAML after pretraining",
        measured="97.2 ± 0.3 % after 0, 1 and 10 steps",
        duration="9 minutes and 51 on 2 processor cores that had other work",
        algorithm="proto-maml",
        **_PRETRAINED | {"inner_learning_rate": 0.1},
    ),
    _omniglot(
        "omniglot-20-way-5-shot",
        20,
        5,
        "98.9 ± 0.2 %",
        measured="95.4 ± 0.2 % after 1 step (1,500 outer steps)",
        duration="22 minutes of meta-training on 2 processor cores",
        **_TWENTY_WAYS,
    ),
    _omniglot(
        "omniglot-5-way-1-shot-fully-connected",
        5,
        1,
        "89.7 ± 1.1 %",
        suffix=", with a fully connected network",
        measured="91.9 ± 1.1 % after 1 step (30,000 outer steps)",
        duration="5 minutes on 2 processor cores",
        network="fully-connected",
    ),
    _omniglot(
        "omniglot-20-way-1-shot-maml-plus-plus",
        20,
        1,
        "97.65 % (an ensemble of five)",
        suffix=", with MAML++",
        paper="Antoniou et al. 2019, table 1",
        downsample="pool",
        algorithm="maml-plus-plus",
        num_inner_steps=5,
        num_validation_inner_steps=5,
        inner_learning_rate=0.1,
        meta_batch_size=8,
        num_outer_steps=50_000,
        num_multi_step_outer_steps=5_000,
    ),
    _mini_imagenet(1, "48.70 ± 1.84 %"),
    _mini_imagenet(5, "63.11 ± 0.92 %"),
    *(
        _mini_imagenet(
            shots,
            expected,
            variant="-fomaml",
            suffix=", with first-order MAML",
            algorithm="fomaml",
        )
        for shots, expected in ((1, "48.07 ± 1.75 %"), (5, "63.15 ± 0.91 %"))
    ),
    *(
        _mini_imagenet(
            shots,
            expected,
            variant="-anil",
            suffix=", with ANIL",
            paper="Raghu et al. 2020, table 2",
            algorithm="anil",
        )
        for shots, expected in ((1, "46.7 ± 0.4 %"), (5, "61.5 ± 0.5 %"))
    ),
    *(
        _mini_imagenet(
            shots, f"{accuracy} % (an ensemble of five)", variant="-maml-plus-plus", **_PLUS_PLUS
        )
        for shots, accuracy in ((1, "52.15 ± 0.26"), (5, "68.32 ± 0.44"))
    ),
    _cifar("cifar-fs", 1, "58.9 ± 1.9 % (MAML)", "Bertinetto et al. 2019, table 1"),
    _cifar(
        "cifar-fs",
        1,
        "58.9 ± 1.9 % (MAML)",
        "Bertinetto et al. 2019, table 1",
        variant="-proto-maml",
        suffix=", with ProtoMAML after pretraining",
        measured="63.0 ± 0.9 % after 0 and 10 steps (8,000 outer steps)",
        duration="two hours on 1 processor core",
        algorithm="proto-maml",
        **_SMALL_PHOTOGRAPHS_PRETRAINED,
    ),
    _cifar("cifar-fs", 5, "71.5 ± 1.0 % (MAML)", "Bertinetto et al. 2019, table 1"),
    _cifar("fc100", 1, "38.1 ± 1.7 % (MAML)", "Lian et al. 2020, table 4"),
    _cifar("fc100", 5, "50.4 ± 1.0 % (MAML)", "Lian et al. 2020, table 4"),
    recipe_like(
        _PHOTOGRAPHS,
        "images",
        "Your own images: give --images FOLDER, with one folder of images per class",
        "unknown: it depends on your images",
        paper="the settings are those of Finn et al. 2017 for mini-ImageNet",
        problem=FolderProblem(),
        num_outer_steps=10_000,
        num_baseline_steps=2_000,
    ),
)
"""All recipes of images."""
