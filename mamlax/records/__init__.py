"""The files of a run: each has a type, one writer and one reader.

Nothing here imports JAX, so that comparing and drawing runs is fast.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
