"""A model of tables behind an address: rows come as JSON or as csv, predictions go back."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from .._errors import MamlaxError, collected_warnings
from .._files import Json
from ..config._serving import Serving
from ..estimators._adapted_table import predictions_of
from ..estimators._categories import category_of
from ..estimators._columns import Column, number_of
from ..estimators._dates import HOW
from ..estimators._few_shot import FewShotClassifier, FewShotRegressor
from ..estimators._pretrained import pretrained_by_step
from ..estimators._steps import outputs_by_step
from ..estimators._targets import Values
from ._bodies import Form
from ._refusals import PRETRAINED_DIVERGED, RefusedError

_MOST_SHOWN, _LONGEST = 100, 500
_MOST_COLUMNS, _MOST_STEPS = 2_000, 20


class ServedTable(NamedTuple):
    """A regressor or classifier, and what its clients may send."""

    model: FewShotRegressor | FewShotClassifier
    settings: Serving

    def describe(self) -> Json:
        """What it takes and gives."""
        model, columns = self.model, self.model.columns_
        found: Json = {
            "kind": "table",
            "columns": [
                {"name": one.name, "categories": list(one.categories)}
                if one.categories
                else {"name": one.name, "parts": list(one.parts)}
                if one.parts
                else {"name": one.name, "mean": one.mean, "scale": one.scale}
                for one in columns.columns
            ],
            "named": columns.named,
            "targets": model.target_names_ or ["target"],
            **self._scales(),
            "num_inner_steps": model.num_inner_steps_,
            "has_pretrained": model.pretrained_ is not None,
        }
        if isinstance(model, FewShotClassifier):
            return found | {"classes": model.classes_.tolist()}
        is_curve = [one.kind for one in columns.columns] == ["numbers"]
        if is_curve and model.targets_.num_outputs == 1:
            found["kind"] = "curve"
        return found | {"has_intervals": model.calibration_ is not None}

    def _scales(self) -> Json:
        """Of targets that are numbers, mean and deviation of each."""
        targets = self.model.targets_
        if not isinstance(targets, Values):
            return {}
        return {"means": list(targets.mean), "scales": list(targets.scale)}

    def adapt(self, body: Json) -> tuple[Any, Json]:
        """`{"rows": [...], "targets": [...]}` → an adapted model, and what to say of it."""
        with collected_warnings() as warned:
            inputs, targets = self._support(body)
            adapted = self.model._adapted_to(inputs, targets)
        return adapted, {"num_support": adapted.num_support_, "said": _once(warned)}

    def predict(self, adapted: Any | None, body: Json) -> Json:
        """`{"rows": [...], "coverage": 0.9}` → predictions; without `adapted`, of the model as it
        was fitted.
        """
        with collected_warnings() as warned:
            model, inputs = adapted or self.model, self._inputs(body, "rows")
            outputs = _finite(model.learner_.predict(model._adapted, inputs))
            predicted = model._decoded(outputs)
            found: Json = {"predictions": predicted.tolist()}
            coverage = body.get("coverage")
            if isinstance(model, FewShotClassifier):
                if coverage is not None:
                    raise RefusedError(
                        "coverage is for models of numbers. A model of classes gives probabilities."
                    )
                found["classes"] = model.classes_.tolist()
                found["probabilities"] = model.targets_.probabilities(outputs).tolist()
            elif coverage is not None:
                if isinstance(coverage, bool) or not isinstance(coverage, int | float):
                    raise RefusedError(f"coverage must be a number, got {coverage!r}.")
                num_support, variances = model._known(inputs)
                half = model._half_widths(num_support, variances, coverage)
                found |= {
                    "lower": (predicted - half).tolist(),
                    "upper": (predicted + half).tolist(),
                }
        return {**found, "said": _once(warned)}

    def steps(self, body: Json) -> Json:
        """`{"rows", "targets", "queries", "num_inner_steps"}` → predictions after each inner step,
        from none on; and those of the pretrained network, where there is one.
        """
        with collected_warnings() as warned:
            inputs, targets = self._support(body)
            asked, number = self._inputs(body, "queries"), self._number_of_steps(body)
            encoded = self.model.targets_.encode(targets)
            learner = self.model.learner_
            outputs = _finite(outputs_by_step(learner, inputs, encoded, asked, number))
            found: Json = {"predictions": self._all_decoded(outputs)}
            if (pretrained := self.model.pretrained_) is not None:
                outputs = pretrained_by_step(pretrained, inputs, encoded, asked, number)
                if np.isfinite(outputs).all():
                    found["pretrained"] = self._all_decoded(outputs)
                else:
                    found["pretrained_said"] = PRETRAINED_DIVERGED
        return {**found, "said": _once(warned)}

    def _all_decoded(self, outputs: np.ndarray) -> list[Any]:
        return [self.model._decoded(one).tolist() for one in outputs]

    def table(self, form: Form) -> Json:
        """Two csv files, `support` and `query` → the query with predictions beside it; with a field
        `coverage`, with intervals.
        """
        model, coverage = self.model, _coverage(form)
        with TemporaryDirectory() as folder, collected_warnings() as warned:
            paths = []
            for name in ("support", "query"):
                if len(found := form.files.get(name, [])) != 1:
                    raise RefusedError(f"the form must hold one file called {name}.")
                self._check_size(name, found[0])
                paths.append(Path(folder) / f"{name}.csv")
                paths[-1].write_bytes(found[0])
            said = []
            try:
                adapted, result = predictions_of(
                    model, *paths, conventions=model.reading_, say=said.append, coverage=coverage
                )
            except MamlaxError as error:  # of files that clients did not name so
                raise RefusedError(str(error).replace(f"{folder}/", "")) from error
        shown = result.head(_MOST_SHOWN)
        return {
            "num_support": adapted.num_support_,
            "said": [line.replace(f"{folder}/", "") for line in (*said, *_once(warned))],
            "columns": list(map(str, result.columns)),
            "rows": shown.astype(object).where(shown.notna(), None).to_numpy().tolist(),
            "csv": result.to_csv(index=False),
        }

    def _number_of_steps(self, body: Json) -> int:
        """As many as the model takes, unless the client says."""
        own = self.model.num_inner_steps_
        number, most = body.get("num_inner_steps", own), max(own, _MOST_STEPS)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= most:
            raise RefusedError(
                f"num_inner_steps must be a whole number from 0 to {most}, got {number!r}."
            )
        return number

    def _check_size(self, name: str, content: bytes) -> None:
        """Refuse a csv of more than may be, before it is read."""
        lines = max(content.count(b"\n"), content.count(b"\r"))
        if lines > self.settings.most_rows + 1:
            raise RefusedError(self._too_many(name, lines - 1), 413)
        head = content.splitlines()[:1]
        columns = 1 + max((head[0].count(one) for one in b",;\t|"), default=0) if head else 0
        if columns > _MOST_COLUMNS:
            raise RefusedError(
                f"{name} has {columns:,} columns; at most {_MOST_COLUMNS:,} are read.", 413
            )

    def _support(self, body: Json) -> tuple[np.ndarray, np.ndarray]:
        """Rows as numbers, and their targets."""
        inputs, targets = self._inputs(body, "rows"), self._targets(body)
        if len(inputs) != len(targets):
            raise RefusedError(
                f"got {len(inputs)} rows and {len(targets)} targets: as many of each."
            )
        return inputs, targets

    def _inputs(self, body: Json, name: str) -> np.ndarray:
        """Rows as numbers: of objects by the names of columns, or of lists of cells."""
        rows = body.get(name)
        if not isinstance(rows, list):
            raise RefusedError(f"{name} must be a list of rows, got {_kind(rows)}.")
        if len(rows) > self.settings.most_rows:
            raise RefusedError(self._too_many(name, len(rows)), 413)
        columns = self.model.columns_
        cells = _cells(name, rows, [one.name for one in columns.columns], columns.named)
        values = [_values(name, *one) for one in zip(columns.columns, cells, strict=True)]
        return columns.encode_values(values, len(rows))

    def _targets(self, body: Json) -> Any:
        targets = body.get("targets")
        if not isinstance(targets, list):
            raise RefusedError(f"targets must be a list, got {_kind(targets)}.")
        if isinstance(self.model, FewShotClassifier):
            if any(isinstance(one, list | dict) for one in targets):
                raise RefusedError("targets must be names of classes, got a list.")
            known = {str(one): one for one in self.model.classes_.tolist()}
            return np.array([known.get(str(one), one) for one in targets], dtype=object)
        try:
            found = np.array(_numbers(targets), np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise RefusedError("targets must be numbers, or lists of as many each.") from error
        if found.ndim > 2 or not np.isfinite(found).all():
            raise RefusedError("targets must be finite numbers, or lists of as many each.")
        return found

    def _too_many(self, name: str, number: int) -> str:
        most = self.settings.most_rows
        return f"{name} has {number:,} rows; at most {most:,} are taken at a time."


def _finite(outputs: np.ndarray) -> np.ndarray:
    """Outputs that JSON can hold."""
    if not np.isfinite(outputs).all():
        raise RefusedError(
            "the model diverged on these rows. Look for values far outside of what it was fitted "
            "to, or ask for fewer inner steps."
        )
    return outputs


def _once(warned: list[str]) -> list[str]:
    """What was warned of, each once, cut where a client's text makes it long."""
    return [
        line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
        for line in dict.fromkeys(warned)
    ]


def _cells(name: str, rows: list[Any], columns: list[str], are_named: bool) -> list[list[Any]]:
    """`[columns][rows]`."""
    if are_named and all(isinstance(row, dict) for row in rows):
        try:
            return [[row[column] for row in rows] for column in columns]
        except KeyError as error:
            raise RefusedError(
                f"a row of {name} lacks {error.args[0]!r}; null is a missing value."
            ) from error
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        shown = f"{', '.join(columns[:20])}{', ...' * (len(columns) > 20)}"
        objects = "all be objects, or all " if are_named else "be "
        raise RefusedError(f"{name} must {objects}lists of {len(columns)} cells ({shown}).")
    return [[row[i] for row in rows] for i in range(len(columns))]


def _values(name: str, column: Column, cells: list[Any]) -> np.ndarray:
    """A column as what it is taken for."""
    if any(isinstance(one, list | dict) for one in cells):
        raise RefusedError(f"{column.name!r} in {name} must be numbers or text, got a list.")
    if column.categories:
        found = [None if one is None else category_of(one) for one in cells]
        return np.array(found, dtype=object)
    if column.parts:
        if wrong := [one for one in cells if one is not None and not isinstance(one, str)]:
            raise RefusedError(
                f"{column.name!r} in {name} must be dates, as {HOW}, got {wrong[0]!r}."
            )
        return np.array(cells, dtype=object)
    try:
        found = np.array([math.nan if one is None else number_of(one) for one in cells])
    except (ValueError, OverflowError) as error:
        raise RefusedError(f"{column.name!r} in {name} must be numbers: {error}.") from error
    if np.isinf(found).any():
        raise RefusedError(f"{column.name!r} in {name} must be finite.")
    return found


def _numbers(targets: list[Any]) -> list[Any]:
    """Lists of any depth, with their cells as numbers."""
    return [_numbers(one) if isinstance(one, list) else number_of(one) for one in targets]


def _coverage(form: Form) -> float | None:
    [given] = form.fields.get("coverage", [""])[-1:]
    try:
        return float(given) if given else None
    except ValueError as error:
        raise RefusedError(f"coverage must be a number, got {given!r}.") from error


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
