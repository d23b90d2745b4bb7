"""What a request is answered with that cannot be served: a sentence, and a status."""

from .._errors import MamlaxError

PRETRAINED_DIVERGED = "The pretrained network is not shown: adapting it to these examples diverged."


class RefusedError(MamlaxError):
    """A request that is answered with an error.

    Attributes:
        status: that of HTTP.
    """

    def __init__(self, words: str, status: int = 400):
        super().__init__(words)
        self.status = status
