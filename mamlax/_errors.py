"""The root of what goes wrong in ways a user can mend. Imports nothing, to be cheap to name."""


class MamlaxError(Exception):
    """An error whose message alone should be enough to act on (the command line prints it bare)."""
