"""A progress bar for slow work before training: downloading and decoding."""

from typing import Any

from .._errors import printable
from .._extras import optional


class Progress:
    """A progress bar that appears with the first call and goes when done."""

    def __init__(self, description: str):
        self.description = description
        self.bar: Any = None

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done. If `total` is 0, it is unknown."""
        if self.bar is None:
            console = optional("rich.console", "cli").Console(stderr=True)
            seen = console.is_terminal or console.is_jupyter  # else a log gets empty lines
            progress = optional("rich.progress", "cli")
            self.bar = progress.Progress(console=console, transient=True, disable=not seen)
            self.bar.start()
            escape = optional("rich.markup", "cli").escape
            self.task = self.bar.add_task(escape(printable(self.description)))
        self.bar.update(self.task, completed=done, total=total or None)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.stop()
