"""The command `mamlax`, and `python -m mamlax`."""

import os
import sys

from ._extras import missing


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        from .cli import main as run
        from .cli._job import is_one_of_several
    except ModuleNotFoundError as error:
        print(f"error: {missing(error.name or 'a library', 'cli')}", file=sys.stderr)
        return 1
    status = run()
    # a signal: do not wait for the program that is still running; one of several processes: not for
    # the others, which wait for this one
    if status in (130, 143) or (status and is_one_of_several()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
