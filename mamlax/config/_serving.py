"""Settings of the service that models adapt and predict behind."""

from dataclasses import dataclass
from typing import Annotated

from ._settings import Bound, Count, Positive, Settings

Token = Annotated[
    str,
    Bound(
        "16 letters, digits and signs of ASCII or more, without spaces",
        lambda text: len(text) >= 16 and all("!" <= one <= "~" for one in text),
    ),
]


@dataclass(frozen=True, kw_only=True)
class Serving(Settings):
    """What a service allows its clients.

    Attributes:
        most_adapted: adapted models that are kept; of more, those least recently used go.
        seconds_kept: how long an adapted model is kept that nobody uses.
        most_bytes: of a request.
        most_rows: of a support, and of what is asked about.
        most_images: of a support, and of what is asked about.
        most_pixels: of the images of a request together; small files may claim many of them.
        seconds_to_send: how long a client may take to send a request.
        most_bytes_kept: of all adapted models together; of more, those least recently used go.
        token: what clients must send as `Authorization: Bearer TOKEN`; None: nothing.
    """

    most_adapted: Count = 1_000
    seconds_kept: Positive = 1_800.0
    most_bytes: Count = 16 * 1024**2
    most_rows: Count = 10_000
    most_images: Count = 200
    most_pixels: Count = 50_000_000
    most_bytes_kept: Count = 1024**3
    seconds_to_send: Positive = 30.0
    token: Token | None = None
