"""The page of the service without a service: models run in the browser, as ONNX programs."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from .._errors import MamlaxError
from .._extras import optional
from .._files import Json, write_json
from .._types import Batch
from ..config._serving import Serving
from ..estimators._entry import counted
from ..estimators._export import arguments_of
from ..estimators._images import FewShotImageClassifier
from ..estimators._inspection import description_of
from ..estimators._learner import ArrayLearner
from ..estimators._load import Model
from ..estimators._pooled import augmented
from ..estimators._program_description import adaptation_of
from ..estimators._steps import by_step_fn
from ..onnx import write_program
from ..records._json import read_json
from ._images import CLASSES_SHOWN, ServedImages
from ._models import models_in
from ._tables import ServedTable

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""The files of onnxruntime-web that the page needs."""
_SHARED = ("curves.js", "images.js", "main.js", "parts.js", "plot.js", "style.css", "tables.js")
_OWN = ("index.html", "pictures.js", "service.js")
_MODELS, _LIST = "models.json", "mamlax-page.json"


def write_page(folder: Path, paths: Sequence[Path], runtime: Path) -> list[Path]:
    """Write a folder that any web server can show: a page to draw or set points on.

    An earlier page in the folder is replaced, and what only that one needed is removed. All other
    files stay.

    Args:
        folder: where to; it is made.
        paths: of models, of images or of one column of numbers; they go by the files' names.
        runtime: the folder `dist` of onnxruntime-web.

    Returns:
        The files that differ from page to page: the page, and a program for each model.

    Raises:
        MamlaxError: if a model has no page without a service, or cannot be written as ONNX, the
            runtime is not there, or a file in the folder that is not of a page would be replaced.
    """
    optional("onnx", "onnx")
    if missing := [name for name in RUNTIME if not (runtime / name).is_file()]:
        raise MamlaxError(
            f"{runtime} has no {missing[0]}. Give the folder dist of the npm package "
            "onnxruntime-web: npm install onnxruntime-web, then "
            "--runtime node_modules/onnxruntime-web/dist."
        )
    models = models_in(paths)
    about = [
        {**_about(name, model), "card": description_of(path)}
        for path, (name, model) in zip(paths, models.items(), strict=True)
    ]
    names = [name for one in about for name in _files_of(one["program"])]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MamlaxError(
            f"two models would write {twice[0]}: one is called as another's program is. Rename one "
            "of the files."
        )
    here = files("mamlax.serve")
    sources = {name: here / "page" / name for name in _SHARED}
    sources |= {name: here / "static" / name for name in _OWN}
    sources |= {name: runtime / name for name in RUNTIME}
    earlier = _files_in(folder)
    new = [*names, *sources, _MODELS, _LIST]
    if foreign := [name for name in new if (folder / name).exists() and name not in earlier]:
        raise MamlaxError(
            f"{folder} holds {foreign[0]}, and its {_LIST} does not say that this command wrote "
            "it. Give another --out, or move that file away."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as beside:  # all or nothing
        made = Path(beside)
        for one, model in zip(about, models.values(), strict=True):
            for program, learner in _programs(one["program"], model):
                write_program(made / program, *_steps(learner))
        for name, source in sources.items():
            (made / name).write_bytes(source.read_bytes())
        write_json(made / _MODELS, about)
        # who is interrupted from here on leaves only files that are in the list
        write_json(folder / _LIST, {"files": sorted({*new, *earlier})})
        for name in (*names, *sources, _MODELS):  # the models last: they lead to the programs
            (made / name).replace(folder / name)
    for name in earlier - set(new):
        if (folder / name).is_file():
            (folder / name).unlink()
    write_json(folder / _LIST, {"files": sorted(new)})
    return [folder / "index.html", *(folder / program for program in names)]


def _files_in(folder: Path) -> set[str]:
    """What this command wrote into the folder earlier, as the list there says.

    Raises:
        MamlaxError: if the list is not one of this command.
    """
    path = folder / _LIST
    if not path.exists():
        return set()
    remedy = "Give another --out."
    names = read_json(path, remedy).get("files")
    # files elsewhere must not be removed, whatever somebody wrote there
    if not isinstance(names, list) or any(Path(str(name)).name != name for name in names):
        raise MamlaxError(f"{path} is not a list of the files of a page. {remedy}")
    return {*names, _LIST}


def _about(name: str, model: Model) -> Json:
    """What the page needs to know of a model."""
    if adaptation_of(model) is not None:
        raise MamlaxError(
            f"{name} is adapted already, and a page adapts by itself. Give the model that it was "
            "made of."
        )
    network = model.learner_.settings.network
    if isinstance(model, FewShotImageClassifier):
        found = ServedImages(model, Serving()).describe()
        program: Json = {
            "shape": list(model.image_shape),
            "targets_shape": [],
            "targets_type": "int32",
            "inverts": model.reading_.invert,
        }
        found["ways"] = most = model.ways or min(network["num_outputs"], CLASSES_SHOWN)
        # a head made for the task has a program for each number of classes
        ways = [None] if model.ways is not None else range(2, most + 1)
    else:
        found = ServedTable(model, Serving()).describe()
        if found["kind"] != "curve":
            raise MamlaxError(
                f"{name} takes {counted(len(model.columns_.columns), 'column')} and gives "
                f"{', '.join(found['targets'])}: a page without a service is for images, and for "
                "one number predicted from one column of numbers. mamlax serve has a page for "
                "tables."
            )
        program = {
            "shape": [model.columns_.width],
            "targets_shape": [network["num_outputs"]],
            "targets_type": "float32",
            "columns": [
                {"mean": one.mean, "scale": one.scale, "limit": one.limit}
                for one in model.columns_.columns
            ],
        }
        ways = [None]
    program["files"] = [(f"{name}.onnx" if n is None else f"{name}.{n}.onnx", n) for n in ways]
    if (pretrained := model.pretrained_) is not None:
        classes = pretrained.settings.network["num_outputs"]
        program["pretrained"] = {"file": f"{name}.pretrained.onnx", "most_classes": classes}
    return {"name": name, **found, "program": program}


def _files_of(program: Json) -> list[str]:
    """The programs of a model."""
    pretrained = program.get("pretrained")
    return [file for file, _ in program["files"]] + ([pretrained["file"]] if pretrained else [])


def _programs(program: Json, model: Model) -> list[tuple[str, ArrayLearner]]:
    """The files of a model, and what each is a program of."""
    learner = model.learner_
    found = [
        (file, replace(learner, settings=replace(learner.settings, ways=ways)))
        for file, ways in program["files"]
    ]
    if model.pretrained_ is not None:
        found.append((program["pretrained"]["file"], model.pretrained_))
    return found


def _steps(learner: ArrayLearner) -> tuple[Any, dict[str, jax.ShapeDtypeStruct]]:
    """What is said of queries, `[steps + 1, queries, outputs]`: before the first inner step, and
    after each."""
    by_step = by_step_fn(learner.settings, learner.settings.num_inner_steps)

    def outputs(inputs, targets, weights, queries):
        inputs, queries = (augmented(learner.pooled, one) for one in (inputs, queries))
        return by_step(learner.meta_params, Batch(inputs, targets, weights=weights), queries)

    return outputs, arguments_of(learner)
