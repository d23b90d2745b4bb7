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
    if status in (130, 143):  # a signal: do not wait for the program that is still running
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
