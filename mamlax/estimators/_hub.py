"""Share models on the Hugging Face Hub: a repository holds one model and a card made from it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._errors import MamlaxError
from .._extras import optional
from ._inspection import description_of

SCHEME, FILE = "hf://", "model.safetensors"
_ADDRESS = re.compile(r"(?:hf://)?([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?(?:/([^/@]+\.safetensors))?")


def push(model: Path, repository: str, *, private: bool = False) -> str:
    """Put a model and its card into a repository, which is made where there is none.

    Args:
        model: what `save` or `mamlax export` wrote.
        repository: `OWNER/NAME`.
        private: whether the repository is to be one's own alone.

    Returns:
        The address of the commit.

    Raises:
        MamlaxError: if it is no model, the repository is there and public although `private` is
            asked for, or the Hub refuses it or cannot be reached.
    """
    card = card_of(model, repository)  # a file that is no model goes nowhere
    hub = optional("huggingface_hub", "hub")
    with _refusals(repository):
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise MamlaxError(
                f"{repository} is there already, and public: nothing was uploaded. Choose another "
                "name, make it private in its settings, or leave out --private."
            )
        content = [
            hub.CommitOperationAdd(FILE, str(model)),
            hub.CommitOperationAdd("README.md", card.encode()),
        ]
        done = api.create_commit(repository, content, commit_message=f"mamlax: {model.name}")
    return str(done.commit_url)


def pulled(address: str) -> Path:
    """A model of the Hub, in the Hub's own cache; downloaded once for each commit.

    Args:
        address: `OWNER/NAME`, with `hf://` before it or not; `@REVISION` and `/FILE.safetensors`
            may follow.

    Raises:
        MamlaxError: if there is none, or the Hub cannot be reached.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise MamlaxError(
            f"{address!r} is no address of a model on the Hub. It is OWNER/NAME, e.g. "
            "hf://ada/wear, hf://ada/wear@v2 or hf://ada/wear/other.safetensors."
        )
    repository, revision, file = found.groups()
    hub = optional("huggingface_hub", "hub")
    with _refusals(repository):
        return Path(hub.hf_hub_download(repository, file or FILE, revision=revision))


def card_of(model: Path, repository: str) -> str:
    """What a reader of the repository is told, in Markdown.

    Raises:
        MamlaxError: if it is no model.
    """
    words = description_of(model).replace("```", "'''")
    name = repository.rpartition("/")[2]
    return f"""---
library_name: mamlax
tags: [meta-learning, few-shot-learning, maml]
---

# {name}

A model that adapts to a new task from a few examples, made by mamlax.

```text
{words}
```

To use it:

```python
import mamlax

model = mamlax.load("{SCHEME}{repository}")
adapted = model.adapt(X, y)  # the examples of the new task
predictions = adapted.predict(X_new)
```

or `mamlax pull {repository} --out {FILE}`, then `mamlax adapt` and `mamlax serve`. Loading it runs
no code of its author's.
"""


@contextmanager
def _refusals(repository: str) -> Iterator[None]:
    """The Hub's errors as sentences."""
    errors = optional("huggingface_hub.errors", "hub")
    login = "Log in (hf auth login) or set HF_TOKEN to a token that may do this."
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise MamlaxError(f"the Hugging Face Hub asks who you are. {login}") from error
    except errors.RevisionNotFoundError as error:
        raise MamlaxError(f"{repository} has no such revision on the Hub.") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise MamlaxError(_out_of_reach(repository, error)) from error
    except errors.EntryNotFoundError as error:
        raise MamlaxError(
            f"{repository} has no such file: a model that mamlax pushed is called {FILE}. Name "
            "another after the repository: OWNER/NAME/FILE.safetensors."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MamlaxError(
            f"the Hub has no repository {repository}, or not for you. {login}"
        ) from error
    except errors.HFValidationError as error:
        raise MamlaxError(f"{repository!r} is no OWNER/NAME: {error}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        advice = login if status in (401, 403) else "Try again later."
        raise MamlaxError(f"the Hub refused {repository} ({_reason(error)}). {advice}") from error
    except (OSError, optional("httpx", "hub").HTTPError) as error:
        raise MamlaxError(_out_of_reach(repository, error)) from error


def _out_of_reach(repository: str, error: Exception) -> str:
    return (
        f"the Hugging Face Hub could not be reached for {repository} ({_reason(error)}). A model "
        "is one file: where there is no network, copy it by hand."
    )


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
