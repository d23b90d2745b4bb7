"""A progress bar for what takes long before training: downloading and decoding."""


class Progress:
    """A progress bar that appears with the first call and goes when done."""

    def __init__(self, description: str):
        self.description, self.bar = description, None

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done; of an unknown total where that is 0."""
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress

            console = Console(stderr=True)
            seen = console.is_terminal or console.is_jupyter  # else a log gets empty lines
            self.bar = Progress(console=console, transient=True, disable=not seen)
            self.bar.start()
            self.task = self.bar.add_task(self.description)
        self.bar.update(self.task, completed=done, total=total or None)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.stop()
