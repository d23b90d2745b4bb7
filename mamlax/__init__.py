"""mamlax learns to learn: gradient-based meta-learning in JAX.

The public names are listed in `__init__.pyi`, grouped by purpose. Each is imported when first used,
so that `import mamlax` and `mamlax --help` stay light.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("mamlax")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
