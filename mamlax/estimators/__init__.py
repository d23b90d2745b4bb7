"""For people with data: fit a table, adapt to a new task, predict, save."""

from importlib.util import find_spec

from .._extras import missing

_NEEDED = ("sklearn", "narwhals", "pandas", "safetensors", "msgspec")

if _missing := [name for name in _NEEDED if find_spec(name) is None]:
    raise missing(", ".join(_missing), "tabular")
