"""Commands that share models on the Hugging Face Hub."""

import shutil
from pathlib import Path

import tyro

from .._files import replacing
from ._console import escape, say, say_paths


def push(
    model: tyro.conf.Positional[Path],
    repository: tyro.conf.Positional[str],
    *,
    private: bool = False,
) -> None:
    """Upload a model to the Hugging Face Hub, with a model card that describes it.

    Log in first: hf auth login, or set HF_TOKEN.

    Args:
        model: A model file of mamlax fit or mamlax export.
        repository: OWNER/NAME. It is created if it does not exist.
        private: The repository is private. One that is there already and public is refused.
    """
    from ..estimators import _hub

    print(_hub.push(model, repository, private=private))


def pull(repository: tyro.conf.Positional[str], *, out: Path = Path("model.safetensors")) -> None:
    """Download a model from the Hugging Face Hub.

    Args:
        repository: OWNER/NAME. You may add @REVISION and /FILE.safetensors.
        out: The file to write.
    """
    from ..estimators import _hub, _inspection

    found = _hub.pulled(repository)
    words = _inspection.description_of(found)  # what is no model is not kept
    if out.is_file():
        say(escape(f"{out} is there already: it is replaced."))
    with replacing(out) as temporary:
        shutil.copyfile(found, temporary)
    print(words)
    say_paths([out])
