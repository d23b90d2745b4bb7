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
    """Put a model on the Hugging Face Hub, with a card that says what it is.

    Needs a login: hf auth login, or HF_TOKEN.

    Args:
        model: What mamlax fit or mamlax export wrote.
        repository: OWNER/NAME; made where there is none.
        private: Whether a repository that is made is your own alone.
    """
    from ..estimators import _hub

    print(_hub.push(model, repository, private=private))


def pull(repository: tyro.conf.Positional[str], *, out: Path = Path("model.safetensors")) -> None:
    """Get a model from the Hugging Face Hub.

    Args:
        repository: OWNER/NAME; @REVISION and /FILE.safetensors may follow.
        out: The file.
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
