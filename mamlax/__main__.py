"""The command `mamlax`, and `python -m mamlax`."""

import sys

from ._extras import missing


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        from .cli import main as run
    except ModuleNotFoundError as error:
        print(f"error: {missing(error.name or 'a library', 'cli')}", file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
