"""Work beside the viewer: a thread that does it, buttons to start and stop it, a bar, and errors in a sentence."""

from collections.abc import Callable
from functools import partial
from typing import Any

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_warning
from superqt.utils import ensure_main_thread

from wsis_jax.core import sentence

ERRORS = (ValueError, KeyError, TypeError, OSError, ImportError, MemoryError)
"""What tells a user in a sentence what is wrong, as on the command line; all else is a fault of the program."""

Tell = Callable[[int, int, str], None]
"""Called in the thread with what is done, what there is in all, and a line of text.

Raises KeyboardInterrupt where the work shall stop.
"""

Ending = Callable[[], None]
"""What is to be done in the end in the thread of the viewer, which alone may touch its layers."""


def _show_warning(warned: tuple[Any, ...]) -> None:
    """Shows a warning of the work; those of libraries to programmers are of other classes."""
    if warned[1] is UserWarning:
        show_warning(str(warned[0]))


class Work:
    """One piece of work at a time, and its widgets.

    Attributes:
        widgets: buttons, bar and text, to be put into a container.
        run, stop_button: the buttons.
        said: the line of text.
    """

    def __init__(self, verb: str, prepare: Callable[[], Callable[[Tell], Ending]]) -> None:
        """Makes the widgets.

        Args:
            verb: on the button that starts it.
            prepare: called in the thread of the viewer when that is pressed; returns the work, which is called in
                a thread of its own and returns its ending. Either may raise one of `ERRORS`.
        """
        self._prepare, self._worker = prepare, None
        self.run, self.stop_button = PushButton(text=verb), PushButton(text="Stop", enabled=False)
        self._bar, self.said = ProgressBar(value=0, max=1, visible=False), Label(value="")
        buttons = Container(widgets=[self.run, self.stop_button], layout="horizontal", labels=False)
        self.widgets = [buttons, self._bar, self.said]
        self.run.changed.connect(self.start)
        self.stop_button.changed.connect(self.stop)
        self._gone = False
        self._bar.native.destroyed.connect(self._forget)

    @property
    def running(self) -> bool:
        """Whether it is being done, or its ending is still to come."""
        return self._worker is not None

    def start(self) -> None:
        """Starts the work, unless it is being done."""
        if self.running:
            return
        try:
            work = self._prepare()
        except ERRORS as error:
            show_error(sentence(error))
            return
        endings: list[Ending] = []

        def tell(done: int, total: int, text: str) -> None:
            self._show(done, total, text)
            if worker.abort_requested:
                raise KeyboardInterrupt

        def run() -> None:
            try:
                endings.append(work(tell))
            except ERRORS as error:
                endings.append(partial(self._fail, sentence(error)))

        worker: Any = create_worker(run)
        # `returned` would not come of a work that was stopped, and an ending there is all the same.
        worker.finished.connect(lambda: self._end(endings))
        worker.warned.connect(_show_warning)
        self._worker = worker
        self.run.enabled, self.stop_button.enabled = False, True
        self._bar.max, self._bar.visible = 0, True  # of unknown length: programs are compiled first
        self.said.value = "getting ready …"
        worker.start()

    def stop(self) -> None:
        """Asks the work to stop as soon as nothing is lost; so does napari when it is closed."""
        if self._worker is not None:
            self.said.value = "stopping …"
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
        self.said.value = text

    def _fail(self, message: str) -> None:
        self.said.value = ""
        show_error(message)

    def _end(self, endings: list[Ending]) -> None:
        self._worker = None
        if self._gone:  # and the viewer perhaps, too
            return
        self.run.enabled, self.stop_button.enabled = True, False
        self._bar.visible, self.said.value = False, ""
        for ending in endings:
            try:
                ending()
            except ERRORS as error:
                self._fail(sentence(error))
