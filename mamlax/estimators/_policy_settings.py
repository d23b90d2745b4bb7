"""How a policy in a file acts and adapts."""

from typing import NamedTuple

from .. import rl
from .._files import Json
from ..config._policies import Episodes, PolicyAlgorithm, PolicyNetwork


class PolicySettings(NamedTuple):
    """How a policy acts and adapts.

    Attributes:
        network: its hidden layers.
        algorithm: how it adapts.
        episodes: how it judges its actions.
        observation_size: numbers of an observation.
        action: what it may do.
        environment: what it was trained in: the name of its class, and its settings.
    """

    network: PolicyNetwork
    algorithm: PolicyAlgorithm
    episodes: Episodes
    observation_size: int
    action: rl.Box | rl.Discrete
    environment: Json
