"""For people with data: fit a table, adapt to a new task, predict, save."""

from importlib.util import find_spec

from .._errors import MamlaxError

if _missing := [name for name in ("sklearn", "pandas", "safetensors") if find_spec(name) is None]:
    raise MamlaxError(
        f"{', '.join(_missing)} cannot be imported: tables and saved learners need the extra "
        "libraries of tables. In the folder of mamlax: pip install '.[tabular]'"
    )
