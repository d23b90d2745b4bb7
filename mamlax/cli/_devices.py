"""JAX's configuration, set before it starts."""

import os
import re
from pathlib import Path

from .._cores import num_cores
from .._files import cache_directory


def prepare_jax() -> None:
    """Make every processor core a device, and keep compiled programs between runs.

    Tasks spread over single-threaded cores run faster than threads inside small products.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    import jax

    jax.config.update("jax_num_cpu_devices", num_cores())
    jax.config.update("jax_compilation_cache_dir", str(_compiled()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def without_damaged_programs(warning: str) -> str:
    """What to say instead of a warning of JAX that a program it kept is damaged; else the warning.

    JAX compiles it again, but writes none that is there already. So the damaged one is deleted,
    with the others of its name: the warning does not say which of them it is.
    """
    found = re.match(r"Error reading persistent compilation cache entry for '([^']*)'", warning)
    if found is None:
        return warning
    for path in _compiled().glob("*-cache"):
        if path.name.startswith(f"{found[1]}-"):
            path.unlink(missing_ok=True)
    return f"a compiled program kept in {_compiled()} was damaged. It is compiled and kept again."


def _compiled() -> Path:
    return cache_directory() / "compiled"
