"""The command line: typed functions handed to tyro.

Nothing heavy is imported before a command runs, so that `mamlax --help` is fast.
"""

import os
import signal
import sys
import warnings
from collections.abc import Sequence

import tyro

from .. import __version__
from .._errors import MamlaxError
from .._files import remedy
from . import _doctor, _models, _runs, _service, _sharing
from ._console import escape, say, say_warning
from ._flags import Flags, as_command
from ._hints import (
    in_flags,
    suggest_algorithm,
    suggest_command,
    suggest_flag,
    suggest_order,
    suggest_recipe,
)
from ._job import process

_COMMANDS = (
    _runs.recipes,
    _runs.train,
    _runs.plan,
    _runs.evaluate,
    _runs.plot,
    _runs.film,
    _runs.compare,
    _models.fit,
    _models.adapt,
    _models.predict,
    _models.score,
    _models.inspect,
    _models.export,
    _service.serve,
    _service.page,
    _sharing.push,
    _sharing.pull,
    _doctor.doctor,
)

_WELCOME = """\
mamlax {version}: learn to learn from many small tasks, adapt to a new one.

See it work
  mamlax train sinusoid         meta-train the paper's sine waves, draw them (under two minutes)
  mamlax recipes                all experiments, with published numbers and ours

Your own data
  mamlax fit table.csv --task-column who --target-column what
                                learn from a table; a column says which task a row belongs to
  mamlax adapt model.safetensors --support new.csv --query rows.csv --out predictions.csv
                                adapt to a new task, and predict
  mamlax train images --images FOLDER
                                learn from a folder with a folder of images for each class
  mamlax serve model.safetensors
                                a page to try a model on, and an HTTP interface

Help
  mamlax --help                 all commands; mamlax COMMAND --help, mamlax train RECIPE --help
  mamlax doctor                 what is installed, found and missing
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"mamlax {__version__}")
        return 0
    if not arguments:
        print(_WELCOME.format(version=__version__), end="")
        return 0
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    if asks_for_help and len(arguments) > 2 and arguments[0] in ("train", "plan"):  # of a recipe
        print("The usual settings; --help-all lists every setting.\n")
    commands = {command.__name__: as_command(command) for command in _COMMANDS}
    try:
        suggest_command(arguments, commands)
        suggest_recipe(arguments)
        suggest_algorithm(arguments)
        suggest_flag(arguments, commands)
        suggest_order(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = say_warning
            tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="mamlax",
                description=(
                    "Learning to learn: meta-train on many small tasks, adapt to a new one. "
                    "Start with: mamlax train sinusoid"
                ),
                args=["--help" if word == "--help-all" else word for word in arguments],
                registry=Flags(all=not asks_for_help).registry(),
                config=(
                    tyro.conf.CascadeSubcommandArgs,
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.OmitSubcommandPrefixes,
                ),
            )
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # the status of a command ended by SIGPIPE
    except KeyboardInterrupt as stop:  # the message of a run names its last checkpoint
        resume = " Repeat the command: what is trained is kept." * (arguments[:1] == ["train"])
        say(escape(str(stop) or f"stopped.{resume}"))
        return 128 + getattr(stop, "signal", signal.SIGINT)  # as shells expect
    except (MamlaxError, ValueError) as error:
        say(f"{process()}[bold red]error:[/] {escape(in_flags(str(error)))}")
        return 1
    except OSError as error:
        said = f"{error}. {remedy(error)}, then repeat the command."
        say(f"{process()}[bold red]error:[/] {escape(said)}")
        return 1
    return 0
