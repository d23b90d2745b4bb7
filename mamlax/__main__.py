"""The command `mamlax`, and `python -m mamlax`."""

import os
import sys

from ._extras import missing


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        from .cli import main as run
    except ModuleNotFoundError as error:
        print(f"error: {missing(error.name or 'a library', 'cli')}", file=sys.stderr)
        return 1
    status = run()
    # a signal: do not wait for the program that is still running; one of several processes: not for
    # the others, which wait for this one
    if status in (130, 143) or (status and _is_one_of_several()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _is_one_of_several() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


if __name__ == "__main__":
    sys.exit(main())
