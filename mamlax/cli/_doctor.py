"""The command that says what is installed, for a report of a bug."""

import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from .._cores import num_cores
from .._files import cache_directory
from . import _devices

_LIBRARIES = ("jax", "jaxlib", "equinox", "optax", "numpy", "scipy")
_OF_DEVELOPERS = {"all", "dev", "docs", "lint", "test"}
# e.g. gymnasium[mujoco]>=1.1; extra == "mujoco"
_OF_EXTRA = re.compile(r"""([\w.-]+)(?:\[([\w, -]+)\])?.*extra == ['"]([\w-]+)['"].*""")
_DATA = {  # a folder of the data directory, and whose recipes it is for
    "omniglot": "omniglot-…",
    "mini-imagenet": "mini-imagenet-…",
    "cifar-100": "cifar-fs-…, fc100-…",
}


def doctor() -> None:
    """Say what is installed, found and missing: versions, devices, data, extras.

    Put what it prints into a report of a bug.
    """
    _devices.prepare_jax()
    import jax

    lines = [
        f"mamlax   {version('mamlax')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
        f"         {', '.join(f'{name} {version(name)}' for name in _LIBRARIES)}",
        f"devices  {_devices_of(jax.devices())}; {num_cores()} processor cores",
        f"cache    {_shown(cache_directory())}",
        f"data     {_shown(data := _data_directory())}",
    ]
    for name, recipes in _DATA.items():
        found = "found" if (data / name).exists() else "not there"
        lines.append(f"         {name}/ {found} ({recipes})")
    lines.append("extras   what is missing comes with pip install '.[EXTRA]' in mamlax's folder")
    lines += [f"         {name}: {state}" for name, state in _extras().items()]
    print("\n".join(lines))


def _devices_of(devices: list) -> str:
    kinds = [device.device_kind for device in devices]
    return ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))


def _data_directory() -> Path:
    # as mamlax.datasets has it, which takes a second to import
    return Path(os.environ.get("MAMLAX_DATA") or cache_directory() / "data").expanduser()


def _shown(directory: Path) -> str:
    """A directory, and whether it can be used."""
    exists = directory
    while not exists.exists():
        exists = exists.parent
    state = "" if directory.exists() else ", not made yet"
    state += "" if os.access(exists, os.W_OK) else ", cannot be written to"
    return f"{directory} ({shutil.disk_usage(exists).free / 1e9:.0f} GB free{state})"


def _extras() -> dict[str, str]:
    """For each extra what is missing; other extras within it count too."""
    libraries: dict[str, set[str]] = {}
    for text in requires("mamlax") or []:
        found = re.fullmatch(
            r"\s*([\w.-]+)(?:\[([\w, -]+)\])?.*extra == ['\"]([\w-]+)['\"].*", text
        )
        if found is not None:
            name, inner, extra = found.groups()
            inside = {f"[{one.strip()}]" for one in (inner or "").split(",")}
            libraries.setdefault(extra, set()).update(inside if name == "mamlax" else {name})

    def all_of(extra: str) -> set[str]:
        return {
            one
            for name in libraries.get(extra, ())
            for one in (all_of(name[1:-1]) if name.startswith("[") else {name})
        }

    states = {}
    for extra in sorted(libraries.keys() - _OF_DEVELOPERS):
        missing = sorted(name for name in all_of(extra) if not _is_installed(name))
        states[extra] = f"missing {', '.join(missing)}" if missing else "ready"
    return states


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
