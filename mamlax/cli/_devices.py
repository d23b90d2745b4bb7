"""JAX's configuration, set before it starts."""

import os

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
    jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
