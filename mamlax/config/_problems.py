"""Where tasks come from and which network learns them: a class for each kind of problem."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._settings import Advanced, Count, Natural, NonNegative, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class SinusoidProblem(Settings):
    """Regression of sine waves with random amplitude and phase."""

    shots: Count = 10
    """Support examples per task."""
    num_query: Count | None = None
    """Query examples per task; as many as shots where None."""
    hidden_sizes: tuple[Count, ...] = (40, 40)
    """Width of each hidden layer."""
    weight_scale: Advanced[NonNegative | None] = None
    """Standard deviation of the initial weights (the paper's code: 0.01). None: √(2/inputs)."""
    context_size: ClassVar[int] = 5
    """Numbers that adapt in CAVIA, unless its context_size is set."""


@dataclass(frozen=True, kw_only=True)
class ClassificationProblem(Settings):
    """N-way K-shot classification of images."""

    ways: Count = 5
    """Classes per task."""
    shots: Count = 1
    """Support examples per class."""
    num_query: Count | None = None
    """Query examples per class; as many as shots where None."""
    train_shots: Advanced[Count | None] = None
    """Support examples per class while training. None: as many as shots. (Reptile learns from them
    alone; its paper uses 15.)"""
    test_ways: Count | None = None
    """Classes per task in validation and evaluation; as many as ways where None. Other ways need a
    head that is made for the task: proto-maml or unicorn-maml."""
    network: Advanced[Literal["conv4", "fully-connected"]] = "conv4"
    """Four convolutions, or four fully connected layers."""
    downsample: Advanced[Literal["stride", "pool"]] = "stride"
    """conv4: stride 2 and a spatial mean (the paper's for Omniglot), or pooling."""
    channels: Advanced[Count] = 64
    """Filters per convolution."""
    head_scale: Advanced[NonNegative | None] = None
    """Standard deviation of the initial weights of conv4's head (the paper's code: 1.0). None: 0,
    so that classes start equal; for boil and cavia, whose heads do not adapt, 1/√channels."""
    norm: Literal["batch", "support", "group", "layer", "none"] = "batch"
    """Normalization. "batch" is the paper's, and transductive; the others are not."""
    rotations: Advanced[bool] = False
    """Rotate classes at random by multiples of 90°, in training and evaluation."""
    flips: Advanced[bool] = False
    """Mirror training images at random."""
    crop_padding: Advanced[Natural] = 0
    """Shift training images at random, by at most this many pixels."""
    stream: Advanced[bool | None] = None
    """Keep the images on the host and fetch those of each task. None: if they do not fit."""
    context_size: ClassVar[int] = 100
    """Numbers that adapt in CAVIA, unless its context_size is set."""
    within_alphabet: ClassVar[bool] = False
    is_drawing: ClassVar[bool] = False
    """Whether images are drawings with ink as 1, which files and figures show dark on light."""


@dataclass(frozen=True, kw_only=True)
class OmniglotProblem(ClassificationProblem):
    """N-way K-shot classification of handwritten characters."""

    rotations: Advanced[bool] = True
    """Rotate classes at random by multiples of 90°, in training and evaluation, as in the paper."""
    image_size: Advanced[Count] = 28
    """Height and width that drawings are resized to."""
    split: Advanced[Literal["characters", "alphabets"]] = "characters"
    """characters: drawn at random, as in the paper; alphabets: those of the publisher's evaluation
    set are held out, so that no character of their kind was seen."""
    split_seed: Advanced[int] = 1
    """Which random split of the characters."""
    within_alphabet: Advanced[bool] = False
    """The characters of a task of validation and evaluation are of one alphabet, and not turned:
    harder than characters of 50 alphabets."""
    is_drawing: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MiniImageNetProblem(ClassificationProblem):
    """N-way K-shot classification on the Ravi & Larochelle split, where you have the images."""

    downsample: Advanced[Literal["stride", "pool"]] = "pool"
    """conv4: pooling (the paper's for these images), or stride 2 and a spatial mean."""
    channels: Advanced[Count] = 32
    """Filters per convolution (paper: 32)."""
    num_query: Count | None = 15
    """Query examples per class."""
    image_size: Advanced[Count] = 84
    """Height and width that images are resized to."""
    skip_broken: Advanced[bool] = False
    """Leave out images that cannot be read, instead of stopping."""


@dataclass(frozen=True, kw_only=True)
class CifarProblem(ClassificationProblem):
    """N-way K-shot classification of the classes of CIFAR-100, in one of two splits."""

    split: Advanced[Literal["cifar-fs", "fc100"]] = "cifar-fs"
    """cifar-fs: classes drawn at random; fc100: by superclass, harder."""
    downsample: Advanced[Literal["stride", "pool"]] = "pool"
    """conv4: pooling, or stride 2 and a spatial mean."""
    channels: Advanced[Count] = 32
    """Filters per convolution (32 in the networks of the published numbers)."""
    num_query: Count | None = 15
    """Query examples per class."""


@dataclass(frozen=True, kw_only=True)
class FolderProblem(ClassificationProblem):
    """N-way K-shot classification of your own images."""

    images: str | None = None
    """A folder or archive with a folder per class (or train/, validation/ and test/ with these), or
    an .npz of arrays by class; see the page on data."""
    downsample: Advanced[Literal["stride", "pool"]] = "pool"
    """conv4: pooling, or stride 2 and a spatial mean."""
    num_query: Count | None = 5
    """Query examples per class."""
    image_size: Count | None = 84
    """Height and width that images are resized to; None where all have one size."""
    color: Advanced[bool] = True
    """Read three channels, or one."""
    split_seed: Advanced[int] = 1
    """Which random split of the classes, where the folder has none."""
    skip_broken: Advanced[bool] = False
    """Leave out images that cannot be read, instead of stopping."""
    gray_bits: Advanced[Count | None] = None
    """Bits of gray values in files of 16 bits or more that do not say how many they use. None: as
    many as the brightest pixel needs."""
    repeated_names: Advanced[bool] = False
    """Take folders of the same name in different folders (Greek/alpha, Coptic/alpha) as different
    classes, instead of refusing them."""


@dataclass(frozen=True, kw_only=True)
class NavigationProblem(Settings):
    """A point on a plane that must find a goal it does not see."""

    goals: Literal["square", "circle", "semicircle", "corners"] = "square"
    """Where goals lie; the paper's are on a square of side 1."""
    horizon: Count = 100
    """Longest episode, in steps."""
    sparse_radius: Advanced[Positive | None] = None
    """Reward only within this distance of the goal. None: the negative distance, everywhere."""
    terminate: Advanced[bool] = True
    """End an episode at the goal."""


@dataclass(frozen=True, kw_only=True)
class BanditProblem(Settings):
    """A row of slot machines, each paying with a probability of its own."""

    num_arms: Count = 10
    """Number of arms."""


@dataclass(frozen=True, kw_only=True)
class TabularMDPProblem(Settings):
    """Random Markov decision processes with few states."""

    num_states: Count = 10
    """Number of states."""
    num_actions: Count = 5
    """Number of actions."""
    horizon: Count = 10
    """Steps per episode."""


@dataclass(frozen=True, kw_only=True)
class LocomotionProblem(Settings):
    """A simulated body that must move as a task asks."""

    goal: str
    """What tasks ask for."""
    variant: Literal["rllab", "gym"] = "rllab"
    """The paper's environment, or that of most later papers. Their returns cannot be compared."""
    horizon: Count = 200
    """Longest episode, in steps."""
    action_bound: Advanced[Positive] = 1.0
    """The action that means full torque; 10 in the code of most later papers."""
    velocities: Advanced[tuple[float, float]] = (0.0, 2.0)
    """Range of the velocities, in m/s."""
    engine: Literal["mujoco", "mjx"] = "mujoco"
    """Simulator: MuJoCo on processor cores, or MJX on accelerators."""


@dataclass(frozen=True, kw_only=True)
class HalfCheetahProblem(LocomotionProblem):
    """A planar body with two legs that must run forward or backward, or at some speed."""

    goal: Literal["direction", "velocity"] = "direction"
    """What tasks ask for."""


@dataclass(frozen=True, kw_only=True)
class AntProblem(LocomotionProblem):
    """A body with four legs that must run forward or backward, at some speed, or to some place."""

    goal: Literal["direction", "velocity", "position"] = "direction"
    """What tasks ask for."""
    velocities: Advanced[tuple[float, float]] = (0.0, 3.0)
    """Range of the velocities, in m/s."""


@dataclass(frozen=True, kw_only=True)
class MetaWorldProblem(Settings):
    """A robot arm of Meta-World, which has goals that it does not see."""

    benchmark: Literal["ml1", "ml10", "ml25", "ml45"] = "ml1"
    """One thing to do with other goals in the test, or several and five others in the test."""
    task: str = "reach-v3"
    """What is to be done in ml1."""
    reward_version: Literal["v1", "v2"] = "v2"
    """Meta-World's reward function. Returns of two cannot be compared."""
    horizon: Count = 500
    """Steps of an episode; 500 in the benchmarks."""
    goal_seed: Advanced[Natural] = 0
    """What decides the goals."""


ControlProblem = (
    NavigationProblem
    | BanditProblem
    | TabularMDPProblem
    | HalfCheetahProblem
    | AntProblem
    | MetaWorldProblem
)
