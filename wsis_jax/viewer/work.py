"""Work in a thread beside the viewer: buttons to start and stop it, a progress bar, errors in a sentence."""

from collections.abc import Callable
from functools import partial
from typing import Any

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_warning
from superqt.utils import ensure_main_thread

from wsis_jax.core import EXPECTED_ERRORS, sentence

ShowProgress = Callable[[int, int, str], None]
"""Called in the thread of the work with the number of steps done, the number of all steps, and a line of text.

Raises KeyboardInterrupt if the user asked to stop.
"""

Finish = Callable[[], None]
"""Called in the end in the thread of the viewer, which alone may touch its layers."""


def _show_warning(warned: tuple[Any, ...]) -> None:
    """Shows a warning of the work; warnings that libraries have for programmers are of other classes."""
    if warned[1] is UserWarning:
        show_warning(str(warned[0]))


class Work:
    """One piece of work at a time, and its widgets.

    Attributes:
        widgets: buttons, bar and text, to be put into a container.
        run, stop_button: the buttons.
        status: the line of text.
    """

    def __init__(self, verb: str, prepare: Callable[[], Callable[[ShowProgress], Finish]]) -> None:
        """Makes the widgets.

        Args:
            verb: on the button that starts it.
            prepare: called in the thread of the viewer when that is pressed; returns the work, which is called in
                a thread of its own and returns what finishes it. `EXPECTED_ERRORS` that either raises are shown in
                a sentence; other errors are raised in the thread of the viewer.
        """
        self._prepare, self._worker = prepare, None
        self.run, self.stop_button = PushButton(text=verb), PushButton(text="Stop", enabled=False)
        self._bar, self.status = ProgressBar(value=0, max=1, visible=False), Label(value="")
        buttons = Container(widgets=[self.run, self.stop_button], layout="horizontal", labels=False)
        self.widgets = [buttons, self._bar, self.status]
        self.run.changed.connect(self.start)
        self.stop_button.changed.connect(self.stop)
        self._gone = False
        self._bar.native.destroyed.connect(self._forget)

    @property
    def running(self) -> bool:
        """Whether the work is being done or finished."""
        return self._worker is not None

    def start(self) -> None:
        """Starts the work, unless it is being done."""
        if self.running:
            return
        try:
            work = self._prepare()
        except EXPECTED_ERRORS as error:
            show_error(sentence(error))
            return
        finishes: list[Finish] = []

        def show(done: int, total: int, text: str) -> None:
            self._show(done, total, text)
            if worker.abort_requested:
                raise KeyboardInterrupt

        def run() -> None:
            try:
                finishes.append(work(show))
            except Exception as error:
                finishes.append(partial(self._fail, error))

        worker: Any = create_worker(run)
        # `finished`, since a worker that was stopped does not emit `returned`.
        worker.finished.connect(lambda: self._end(finishes))
        worker.warned.connect(_show_warning)
        self._worker = worker
        self.run.enabled, self.stop_button.enabled = False, True
        self._bar.max, self._bar.visible = 0, True  # of unknown length: programs are compiled first
        self.status.value = "getting ready …"
        worker.start()

    def stop(self) -> None:
        """Asks the work to stop as soon as nothing is lost; napari does so, too, when it is closed."""
        if self._worker is not None:
            self.status.value = "stopping …"
            self._worker.quit()

    def _forget(self) -> None:
        """Stops the work of a widget that was closed."""
        self._gone = True
        if self._worker is not None:
            self._worker.quit()

    @ensure_main_thread
    def _show(self, done: int, total: int, text: str) -> None:
        if self._gone or self._worker is None or self._worker.abort_requested:
            return
        # A bar of a single step would stand still; without a length it moves.
        self._bar.max = total if total > 1 else 0
        self._bar.value = done if total > 1 else 0
        self.status.value = text

    def _fail(self, error: Exception) -> None:
        """Shows an error that the user can mend; raises any other, so that napari shows its traceback."""
        self.status.value = ""
        if not isinstance(error, EXPECTED_ERRORS):
            raise error
        show_error(sentence(error))

    def _end(self, finishes: list[Finish]) -> None:
        self._worker = None
        if self._gone:  # and the viewer perhaps, too
            return
        self.run.enabled, self.stop_button.enabled = True, False
        self._bar.visible, self.status.value = False, ""
        for finish in finishes:
            try:
                finish()
            except EXPECTED_ERRORS as error:
                self._fail(error)
