"""What the commands of long jobs show: progress bars, and what is logged above them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from kwspot_export.loop import Step


class Bars:
    """One bar for each thing that is prepared, and one for each training."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, int] = {}

    def prepared(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are ready."""
        self._show(what, done, total, f"{done}/{total}")

    def training(self, what: str, step: Step) -> None:
        """Show a step of a training and the minutes left, at the pace so far."""
        minutes = step.seconds_left / 60
        note = f"step {step.step}/{step.steps}  loss {step.loss:.3f}  {minutes:.1f} min left"
        self._show(what, step.step, step.steps, note)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, note="", total=total)
        self._progress.update(self._tasks[what], completed=done, total=total, note=note)


@contextmanager
def bars() -> Iterator[Bars]:
    """Show bars on standard error, and what kwspot_export logs above them."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
    with Progress(*columns, console=console) as progress, logged_to(console):
        yield Bars(progress)


@contextmanager
def logged_to(console: Console) -> Iterator[None]:
    """Print what kwspot_export logs, and nobody else, above the console's progress bar."""
    logger = logging.getLogger("kwspot_export")
    handler, level = _ConsoleHandler(console), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line as it is: rich would wrap it and read brackets as markup."""
        self.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
