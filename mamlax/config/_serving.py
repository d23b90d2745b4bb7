"""Settings of mamlax serve."""

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
    """What a server of models allows its clients.

    Attributes:
        most_adapted: how many adapted models to keep. Beyond that, the least recently used are
            dropped.
        seconds_kept: seconds after which an unused adapted model is dropped.
        most_bytes: largest size of a request, in bytes.
        most_rows: largest number of rows in a support, and in a query.
        most_images: largest number of images in a support, and in a query.
        most_pixels: largest number of pixels of all images in a request together. (A small file can
            claim a very large image.)
        seconds_to_send: how long a client may take to send the head of a request, and how long to
            send its body.
        seconds_to_compute: how long a request may wait for its answer. After that it gets status
            503.
        most_bytes_kept: largest size of all adapted models together, in bytes. Beyond that, the
            least recently used are dropped.
        token: the token that clients must send as `Authorization: Bearer TOKEN`. None: no token is
            needed.
    """

    most_adapted: Count = 1_000
    seconds_kept: Positive = 1_800.0
    most_bytes: Count = 16 * 1024**2
    most_rows: Count = 10_000
    most_images: Count = 200
    most_pixels: Count = 50_000_000
    most_bytes_kept: Count = 1024**3
    seconds_to_send: Positive = 30.0
    seconds_to_compute: Positive = 120.0
    token: Token | None = None
