"""A model of tables behind an address: rows come as JSON or as csv, predictions go back."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._files import Json
from ..config._serving import Serving
from ..estimators._adapted_table import predictions_of
from ..estimators._few_shot import FewShotClassifier, FewShotRegressor
from ..estimators._steps import outputs_by_step
from ._bodies import Form
from ._refusals import RefusedError

_MOST_SHOWN = 100


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
                else {"name": one.name, "mean": one.mean, "scale": one.scale}
                for one in columns.columns
            ],
            "named": columns.named,
            "targets": model.target_names_ or ["target"],
            "num_inner_steps": model.num_inner_steps_,
        }
        if isinstance(model, FewShotClassifier):
            return found | {"classes": model.classes_.tolist()}
        is_curve = len(columns.columns) == 1 and not columns.columns[0].categories
        if is_curve and model.targets_.num_outputs == 1:
            found["kind"] = "curve"
        return found | {"has_intervals": model.calibration_ is not None}

    def adapt(self, body: Json) -> tuple[Any, Json]:
        """`{"rows": [...], "targets": [...]}` → an adapted model, and what to say of it."""
        rows, targets = self._rows(body, "rows"), self._targets(body)
        adapted = self.model.adapt(rows, targets)
        return adapted, {"num_support": adapted.num_support_}

    def predict(self, adapted: Any | None, body: Json) -> Json:
        """`{"rows": [...], "coverage": 0.9}` → predictions; without `adapted`, of the model as it
        was fitted.
        """
        model, rows = adapted or self.model, self._rows(body, "rows")
        found: Json = {"predictions": model.predict(rows).tolist()}
        if isinstance(model, FewShotClassifier):
            found["classes"] = model.classes_.tolist()
            found["probabilities"] = model.predict_proba(rows).tolist()
        elif (coverage := body.get("coverage")) is not None:
            if isinstance(coverage, bool) or not isinstance(coverage, int | float):
                raise RefusedError(f"coverage must be a number, got {coverage!r}.")
            lower, upper = model.predict_interval(rows, coverage)
            found |= {"lower": lower.tolist(), "upper": upper.tolist()}
        return found

    def steps(self, body: Json) -> Json:
        """`{"rows", "targets", "queries", "num_inner_steps"}` → predictions after each inner step,
        from none on.
        """
        rows, targets = self._rows(body, "rows"), self._targets(body)
        queries, number = self._rows(body, "queries"), _number_of_steps(body)
        model = self.model
        inputs, asked = (
            model.columns_.encode(model._checked_table(one)) for one in (rows, queries)
        )
        encoded = model.targets_.encode(model._checked_targets(targets))
        outputs = outputs_by_step(model.learner_, inputs, encoded, asked, number)
        return {"predictions": [model._decoded(one).tolist() for one in outputs]}

    def table(self, form: Form) -> Json:
        """Two csv files, `support` and `query` → the query with predictions beside it; with a field
        `coverage`, with intervals.
        """
        model, coverage = self.model, _coverage(form)
        with TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            paths = []
            for name in ("support", "query"):
                if len(found := form.files.get(name, [])) != 1:
                    raise RefusedError(f"the form must hold one file called {name}.")
                paths.append(Path(folder) / f"{name}.csv")
                paths[-1].write_bytes(found[0])
            said = []
            adapted, result = predictions_of(
                model, *paths, conventions=model.reading_, say=said.append, coverage=coverage
            )
            if len(result) > self.settings.most_rows:
                raise RefusedError(self._too_many("query", len(result)), 413)
        said += [str(one.message) for one in warned if issubclass(one.category, UserWarning)]
        shown = result.head(_MOST_SHOWN)
        return {
            "num_support": adapted.num_support_,
            "said": [line.replace(f"{folder}/", "") for line in said],
            "columns": list(map(str, result.columns)),
            "rows": shown.astype(object).where(shown.notna(), None).to_numpy().tolist(),
            "csv": result.to_csv(index=False),
        }

    def _rows(self, body: Json, name: str) -> Any:
        """Rows as the model takes them: objects by the names of columns, or lists of numbers."""
        rows = body.get(name)
        if not isinstance(rows, list):
            raise RefusedError(f"{name} must be a list of rows, got {_kind(rows)}.")
        if len(rows) > self.settings.most_rows:
            raise RefusedError(self._too_many(name, len(rows)), 413)
        columns = self.model.columns_
        names = [one.name for one in columns.columns]
        if all(isinstance(row, dict) for row in rows):
            if not columns.named:
                raise RefusedError(
                    f"{name} must be lists of {len(names)} numbers: the model's columns have no "
                    "names."
                )
            return self._frame(name, rows, names)
        if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
            raise RefusedError(
                f"{name} must all be objects, or all lists of {len(names)} cells "
                f"({', '.join(names[:20])}{', ...' * (len(names) > 20)})."
            )
        if columns.named:
            return self._frame(name, [dict(zip(names, row, strict=True)) for row in rows], names)
        try:
            return np.array(rows, np.float64).reshape(len(rows), len(names))
        except (TypeError, ValueError) as error:
            raise RefusedError(f"{name} must hold numbers alone.") from error

    def _frame(self, name: str, rows: list[Mapping[str, Any]], names: list[str]) -> pd.DataFrame:
        lacking = next((one for row in rows for one in names if one not in row), None)
        if lacking is not None:
            raise RefusedError(f"a row of {name} lacks {lacking!r}; null is a missing value.")
        frame = {}
        for column in self.model.columns_.columns:
            cells = [row[column.name] for row in rows]
            odd = next((one for one in cells if isinstance(one, list | dict)), None)
            if odd is not None:
                raise RefusedError(f"{column.name!r} in {name} must be a number or text.")
            if column.categories:
                texts = [None if one is None else str(one) for one in cells]
                frame[column.name] = pd.Series(texts, dtype=object)
                continue
            try:
                frame[column.name] = pd.Series(cells, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise RefusedError(
                    f"{column.name!r} in {name} must be numbers: {error}."
                ) from error
        return pd.DataFrame(frame, index=range(len(rows)))

    def _targets(self, body: Json) -> Any:
        targets = body.get("targets")
        if not isinstance(targets, list):
            raise RefusedError(f"targets must be a list, got {_kind(targets)}.")
        if isinstance(self.model, FewShotClassifier):
            known = {str(one): one for one in self.model.classes_.tolist()}
            return np.array([known.get(str(one), one) for one in targets], dtype=object)
        try:
            return np.array(targets, np.float64)
        except (TypeError, ValueError) as error:
            raise RefusedError("targets must be numbers, or lists of as many each.") from error

    def _too_many(self, name: str, number: int) -> str:
        most = self.settings.most_rows
        return f"{name} has {number:,} rows; at most {most:,} are taken at a time."


def _coverage(form: Form) -> float | None:
    [given] = form.fields.get("coverage", [""])[-1:]
    try:
        return float(given) if given else None
    except ValueError as error:
        raise RefusedError(f"coverage must be a number, got {given!r}.") from error


def _number_of_steps(body: Json) -> int:
    number = body.get("num_inner_steps", 1)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 20:
        raise RefusedError(f"num_inner_steps must be a whole number from 0 to 20, got {number!r}.")
    return number


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
