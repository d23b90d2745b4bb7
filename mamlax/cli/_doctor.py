"""The command that says what is installed, for bug reports."""

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from .._cores import num_cores
from .._errors import MamlaxError
from .._files import cache_directory
from . import _devices

_LIBRARIES = ("jax", "jaxlib", "equinox", "optax", "numpy", "scipy")
_OF_DEVELOPERS = {"all", "dev", "docs", "lint", "test"}


def doctor() -> None:
    """Show what is installed and what is missing: versions, devices, data, extras.

    Include the output in a bug report.
    """
    _devices.prepare_jax()
    import jax

    from ..datasets._cifar_archive import found_cifar
    from ..datasets._download import data_directory
    from ..datasets._mini_imagenet import found_mini_imagenet
    from ..datasets._omniglot import found_omniglot

    data = (
        ("omniglot", "omniglot-…", found_omniglot),
        ("mini-imagenet", "mini-imagenet-…", found_mini_imagenet),
        ("cifar-100", "cifar-fs-…, fc100-…", found_cifar),
    )
    lines = [
        f"mamlax   {version('mamlax')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
        f"         {', '.join(f'{name} {version(name)}' for name in _LIBRARIES)}",
        f"devices  {_devices_of(jax.devices)}; {num_cores()} processor cores",
        f"cache    {_shown(cache_directory())}",
        f"data     {_shown(data_directory())}",
    ]
    lines += [f"         {name}: {_where(find)} ({recipes})" for name, recipes, find in data]
    lines.append("extras   what is missing comes with pip install 'mamlax[EXTRA]'")
    lines += [f"         {name}: {state}" for name, state in _extras().items()]
    print("\n".join(lines))


def _devices_of(find: Callable[[], list]) -> str:
    try:
        kinds = [device.device_kind for device in find()]
    except RuntimeError as error:  # JAX_PLATFORMS names some that are not there
        return f"none ({str(error).splitlines()[0]})"
    return ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))


def _where(find: Callable[[], Path | None]) -> str:
    try:
        return f"in {found}" if (found := find()) else "not there"
    except MamlaxError as error:
        return str(error)


def _shown(directory: Path) -> str:
    """A directory, and whether it can be used."""
    exists = directory
    # os.path: what may not be looked into is no traceback
    while not os.path.exists(exists):
        exists = exists.parent
    state = "" if os.path.exists(directory) else ", not made yet"
    state += "" if os.access(exists, os.W_OK) else ", cannot be written to"
    return f"{directory} ({shutil.disk_usage(exists).free / 1e9:.0f} GB free{state})"


def _extras() -> dict[str, str]:
    """For each extra, what is missing or too old. Extras inside an extra count too."""
    needed: dict[str, list[Requirement]] = {}
    for one in map(Requirement, requires("mamlax") or []):
        for extra in metadata("mamlax").get_all("Provides-Extra") or []:
            if one.marker and one.marker.evaluate({"extra": extra}):
                needed.setdefault(extra, []).append(one)

    def lacking(extra: str) -> set[str]:
        found = set()
        for one in needed.get(extra, ()):
            if one.name == "mamlax":
                found |= {name for inner in one.extras for name in lacking(inner)}
            elif not _is_installed(one):
                found.add(f"{one.name}{one.specifier}")
        return found

    return {
        extra: f"missing {', '.join(sorted(names))}" if (names := lacking(extra)) else "ready"
        for extra in sorted(needed.keys() - _OF_DEVELOPERS)
    }


def _is_installed(one: Requirement) -> bool:
    try:
        return one.specifier.contains(version(one.name), prereleases=True)
    except PackageNotFoundError:
        return False
