"""Problems: where tasks come from, and which network learns them. One class for each kind."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ._settings import (
    Advanced,
    Bound,
    Count,
    Natural,
    NonNegative,
    Positive,
    Range,
    Seed,
    Settings,
    Several,
)

GrayBits = Annotated[int, Bound("a whole number from 8 to 32", lambda n: 8 <= n <= 32)]


@dataclass(frozen=True, kw_only=True)
class SinusoidProblem(Settings):
    """Regression of sine waves with random amplitude and phase."""

    shots: Count = 10
    """Support examples per task."""
    num_query: Count | None = None
    """Query examples per task. None: as many as shots."""
    hidden_sizes: tuple[Count, ...] = (40, 40)
    """Width of each hidden layer."""
    weight_scale: Advanced[NonNegative | None] = None
    """Standard deviation of the initial weights (the paper's code: 0.01). None: √(2/inputs)."""
    context_size: ClassVar[int] = 5
    """Number of context parameters in CAVIA, unless its context_size is set."""


@dataclass(frozen=True, kw_only=True)
class ClassificationProblem(Settings):
    """N-way K-shot classification of images."""

    ways: Several = 5
    """Classes per task."""
    shots: Count = 1
    """Support examples per class."""
    num_query: Count | None = None
    """Query examples per class. None: as many as shots."""
    train_shots: Advanced[Count | None] = None
    """Support examples per class in training. None: as many as shots. (Reptile learns only from the
    support; its paper uses 15.)"""
    test_ways: Several | None = None
    """Classes per task in validation and evaluation. None: as in training. Another number needs
    proto-maml, unicorn-maml or logistic-maml, which make a head for each task."""
    network: Advanced[Literal["conv4", "fully-connected"]] = "conv4"
    """Four convolutions, or four fully connected layers."""
    downsample: Advanced[Literal["stride", "pool"]] = "stride"
    """conv4: stride 2 and a spatial mean (as in the paper for Omniglot), or pooling."""
    channels: Advanced[Count] = 64
    """Filters per convolution."""
    head_scale: Advanced[NonNegative | None] = None
    """Standard deviation of the initial weights of conv4's head (the paper's code: 1.0). None: 0,
    so that all classes start equal; for boil and cavia, whose heads do not adapt, 1/√channels."""
    norm: Literal["batch", "support", "group", "layer", "none"] = "batch"
    """Normalization. "batch" is the paper's; it is transductive, the others are not."""
    rotations: Advanced[bool] = False
    """Rotate classes at random by multiples of 90°, in training and evaluation."""
    flips: Advanced[bool] = False
    """Mirror training images at random."""
    crop_padding: Advanced[Natural] = 0
    """Shift training images at random, by at most this many pixels."""
    mirrored_features: Advanced[bool] = False
    """After training: average the features of each image and of its mirror image. For photographs,
    not for characters."""
    centered_features: Advanced[bool] = False
    """After training: subtract from the features their mean over the batch, and scale those of each
    image to one length. For proto-maml and logistic-maml, best without inner steps."""
    stream: Advanced[bool | None] = None
    """Keep the images in host memory and fetch those of each task. None: only if they do not fit
    on the device."""
    context_size: ClassVar[int] = 100
    """Number of context parameters in CAVIA, unless its context_size is set."""
    is_drawing: ClassVar[bool] = False
    """Whether images are drawings with ink as 1. Files and figures show them dark on light."""


@dataclass(frozen=True, kw_only=True)
class OmniglotProblem(ClassificationProblem):
    """N-way K-shot classification of handwritten characters."""

    rotations: Advanced[bool] = True
    """Rotate classes at random by multiples of 90°, in training and evaluation, as in the paper."""
    image_size: Advanced[Count] = 28
    """Height and width that drawings are resized to."""
    split: Advanced[Literal["characters", "alphabets"]] = "characters"
    """characters: hold out random characters, as in the paper. alphabets: hold out the alphabets of
    the publisher's evaluation set, so that no character of them is seen in training."""
    split_seed: Advanced[Seed] = 1
    """Seed of the random split of the characters."""
    within_alphabet: Advanced[bool] = False
    """In the evaluation, take the characters of a task from one alphabet, not rotated. That is
    harder than characters of 50 alphabets."""
    is_drawing: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MiniImageNetProblem(ClassificationProblem):
    """N-way K-shot classification on the Ravi & Larochelle split. You provide the images."""

    downsample: Advanced[Literal["stride", "pool"]] = "pool"
    """conv4: pooling (as in the paper for these images), or stride 2 and a spatial mean."""
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
    """cifar-fs: random classes are held out. fc100: whole superclasses, which is harder."""
    downsample: Advanced[Literal["stride", "pool"]] = "pool"
    """conv4: pooling, or stride 2 and a spatial mean."""
    channels: Advanced[Count] = 32
    """Filters per convolution (32 in the networks of the published results)."""
    num_query: Count | None = 15
    """Query examples per class."""


@dataclass(frozen=True, kw_only=True)
class FolderProblem(ClassificationProblem):
    """N-way K-shot classification of your own images."""

    images: str | None = None
    """A folder or archive with one folder per class (or train/, validation/ and test/ with such
    folders), or an .npz with one array per class. See the page on data."""
    downsample: Advanced[Literal["stride", "pool"]] = "pool"
    """conv4: pooling, or stride 2 and a spatial mean."""
    num_query: Count | None = 5
    """Query examples per class."""
    image_size: Count | None = 84
    """Height and width that images are resized to. None: no resizing; all must have one size."""
    color: Advanced[bool] = True
    """Read three color channels, or one."""
    split_seed: Advanced[Seed] = 1
    """Seed of the random split of the classes, if the folder does not define a split."""
    skip_broken: Advanced[bool] = False
    """Leave out images that cannot be read, instead of stopping."""
    gray_bits: Advanced[GrayBits | None] = None
    """Number of bits of gray values, for files of 16 bits or more that do not say it. None: as many
    as the brightest pixel needs."""
    repeated_names: Advanced[bool] = False
    """Treat folders with the same name in different folders (Greek/alpha, Coptic/alpha) as
    different classes, instead of refusing them."""


@dataclass(frozen=True, kw_only=True)
class NavigationProblem(Settings):
    """A point on a plane must find a goal that it does not see."""

    goals: Literal["square", "circle", "semicircle", "corners"] = "square"
    """Where goals lie. The paper uses a square of side 1."""
    horizon: Count = 100
    """Longest episode, in steps."""
    sparse_radius: Advanced[Positive | None] = None
    """Give a reward only within this distance of the goal. None: the reward is the negative
    distance, everywhere."""
    terminate: Advanced[bool] = True
    """End an episode at the goal."""


@dataclass(frozen=True, kw_only=True)
class BanditProblem(Settings):
    """Multi-armed bandit: a row of slot machines, each with its own probability of paying."""

    num_arms: Several = 10
    """Number of arms."""


@dataclass(frozen=True, kw_only=True)
class TabularMDPProblem(Settings):
    """Random Markov decision processes (MDPs) with few states."""

    num_states: Count = 10
    """Number of states."""
    num_actions: Several = 5
    """Number of actions."""
    horizon: Count = 10
    """Steps per episode."""


@dataclass(frozen=True, kw_only=True)
class LocomotionProblem(Settings):
    """Locomotion: a simulated robot must move as the task requires."""

    goal: str
    """What a task requires."""
    variant: Literal["rllab", "gym"] = "rllab"
    """The paper's environment (rllab), or that of most later papers (gym). Their returns cannot be
    compared."""
    horizon: Count = 200
    """Longest episode, in steps."""
    action_bound: Advanced[Positive] = 1.0
    """The action that means full torque (10 in the code of most later papers)."""
    velocities: Advanced[Range] = (0.0, 2.0)
    """Range of the goal velocities, in m/s."""
    engine: Literal["mujoco", "mjx"] = "mujoco"
    """Simulator: MuJoCo on processor cores, or MJX on accelerators."""


@dataclass(frozen=True, kw_only=True)
class HalfCheetahProblem(LocomotionProblem):
    """Half-cheetah: a planar robot with two legs runs forward or backward, or at a velocity."""

    goal: Literal["direction", "velocity"] = "direction"
    """What a task requires: a direction or a velocity."""


@dataclass(frozen=True, kw_only=True)
class AntProblem(LocomotionProblem):
    """Ant: a robot with four legs runs forward or backward, at a velocity, or to a position."""

    goal: Literal["direction", "velocity", "position"] = "direction"
    """What a task requires: a direction, a velocity or a position."""
    velocities: Advanced[Range] = (0.0, 3.0)
    """Range of the goal velocities, in m/s."""
    observe_contacts: bool = True
    """Whether the policy observes contact forces, as in the paper (rllab): 84 of 125 numbers."""


@dataclass(frozen=True, kw_only=True)
class MetaWorldProblem(Settings):
    """Meta-World: a robot arm with goals that it does not see."""

    benchmark: Literal["ml1", "ml10", "ml25", "ml45"] = "ml1"
    """ml1: one kind of task, tested with other goals. The others: several kinds of tasks, tested
    with five other kinds."""
    task: str = "reach-v3"
    """The kind of task in ml1."""
    reward_version: Literal["v1", "v2"] = "v2"
    """Version of Meta-World's reward function. Returns of different versions cannot be compared."""
    horizon: Count = 500
    """Steps of an episode (500 in the benchmarks)."""
    goal_seed: Advanced[Seed] = 0
    """Seed of the goals."""


ControlProblem = (
    NavigationProblem
    | BanditProblem
    | TabularMDPProblem
    | HalfCheetahProblem
    | AntProblem
    | MetaWorldProblem
)
