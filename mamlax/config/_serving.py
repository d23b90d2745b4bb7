"""Settings of the service that models adapt and predict behind."""

from dataclasses import dataclass

from ._settings import Count, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class Serving(Settings):
    """What a service allows its clients.

    Attributes:
        most_adapted: adapted models that are kept; of more, those least recently used go.
        seconds_kept: how long an adapted model is kept that nobody uses.
        most_bytes: of a request.
        most_rows: of a support, and of what is asked about; images likewise.
        most_pixels: of an image, which a small file may claim many of.
        seconds_to_send: how long a client may take to send a request.
        token: what clients must send as `Authorization: Bearer TOKEN`; None: nothing.
    """

    most_adapted: Count = 1_000
    seconds_kept: Positive = 1_800.0
    most_bytes: Count = 16 * 1024**2
    most_rows: Count = 10_000
    most_pixels: Count = 50_000_000
    seconds_to_send: Positive = 30.0
    token: str | None = None
