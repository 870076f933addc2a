"""Work in a thread beside the viewer: its buttons, a bar, how long it takes, and what went wrong, in full."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from napari.qt.threading import create_worker
from qtpy.QtCore import QTimer
from superqt.utils import ensure_main_thread

from wsis_jax.core import EXPECTED_ERRORS, sentence
from wsis_jax.viewer.panels import Message

ShowProgress = Callable[[int, int, str], None]
"""Called in the thread of the work with the number of steps done, the number of all steps, and a line of text.

Raises KeyboardInterrupt if the user asked to stop.
"""

Finish = Callable[[], None]
"""Called in the end in the thread of the viewer, which alone may touch its layers."""

Prepare = Callable[[], Callable[[ShowProgress], Finish]]
"""Called in the thread of the viewer when a button is pressed; returns the work.

That is called in a thread of its own and returns what finishes it.
"""

_WIDTH = 220  # of a line of text, in pixels of the screen: narrower ones have a word a line
_SURE = 2  # steps to know from how long the others take; the first one compiles programs


class Work:
    """One piece of work at a time, and its widgets.

    Attributes:
        widgets: buttons, bar, text and message, to be put into a container.
        buttons: that start a piece of work, by what they are called.
        run: the first of them.
        stop_button: stops the work.
        status: the line of text.
        problem: errors and warnings of the work that was started last, in full.
    """

    def __init__(self, actions: Mapping[str, Prepare]) -> None:
        """Makes the widgets.

        Args:
            actions: by the text of the button that starts it. `EXPECTED_ERRORS` that preparing or the work raise
                are shown in a sentence; other errors are raised in the thread of the viewer.
        """
        self._worker: Any = None
        self.buttons = {verb: PushButton(text=verb) for verb in actions}
        self.run, self.stop_button = next(iter(self.buttons.values())), PushButton(text="Stop", enabled=False)
        self._bar = ProgressBar(value=0, max=1, visible=False)
        self.status, self.problem = Label(value=""), Message()
        self.status.native.setWordWrap(True)
        self.status.native.setMinimumWidth(_WIDTH)
        row = [*self.buttons.values(), self.stop_button]
        buttons = Container(widgets=row, layout="horizontal", labels=False)
        self.widgets = [buttons, self._bar, self.status, self.problem]
        for verb, prepare in actions.items():
            self.buttons[verb].changed.connect(partial(self.start, prepare))
        self.stop_button.changed.connect(self.stop)
        self._gone = False
        self._bar.native.destroyed.connect(self._forget)
        self._clock = QTimer(self._bar.native)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._tick)
        self._begun, self._first = 0.0, (0, 0.0)

    @property
    def running(self) -> bool:
        """Whether the work is being done or finished."""
        return self._worker is not None

    @property
    def gone(self) -> bool:
        """Whether the widget was closed, while its work may go on to its end."""
        return self._gone

    def start(self, prepare: Prepare, *_: Any) -> None:
        """Starts a piece of work, unless one is being done."""
        if self.running:
            return
        self.problem.say("")
        try:
            work = prepare()
        except EXPECTED_ERRORS as error:
            self.problem.say(sentence(error))
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
        worker.warned.connect(self._warn)
        self._worker = worker
        for button in self.buttons.values():
            button.enabled = False
        self.stop_button.enabled = True
        self._bar.max, self._bar.visible = 0, True  # of unknown length: programs are compiled first
        self._begun, self._first = time.monotonic(), (0, 0.0)
        self._tick()
        self._clock.start()
        worker.start()

    def stop(self) -> None:
        """Asks the work to stop as soon as nothing is lost; napari does so, too, when it is closed."""
        if self._worker is not None:
            self._clock.stop()
            self.status.value = "stopping …"
            self._worker.quit()

    def _forget(self) -> None:
        """Stops the work of a widget that was closed."""
        self._gone = True
        if self._worker is not None:
            self._worker.quit()

    def _tick(self) -> None:
        """Tells, until there is something else to tell, that the work goes on."""
        seconds = int(time.monotonic() - self._begun)
        compiling = "; the first time it takes a minute" if seconds > 4 else ""
        self.status.value = f"getting ready … {seconds} s{compiling}"

    @ensure_main_thread
    def _show(self, done: int, total: int, text: str) -> None:
        if self._gone or self._worker is None or self._worker.abort_requested:
            return
        if done or total == 1:
            self._clock.stop()
        # A bar of a single step would stand still; without a length it moves.
        self._bar.max = total if total > 1 else 0
        self._bar.value = done if total > 1 else 0
        self.status.value = f"{text}{self._left(done, total)}"

    def _left(self, done: int, total: int) -> str:
        """Returns how long the rest takes, in words, once that is known."""
        now, (first, since) = time.monotonic(), self._first
        if not since and done:
            self._first = done, now
        if not since or done < first + _SURE:
            return ""
        return f", {in_time((total - done) * (now - since) / (done - first))} left"

    def _warn(self, warned: tuple[Any, ...]) -> None:
        """Shows a warning of the work; warnings that libraries have for programmers are of other classes."""
        if warned[1] is UserWarning and not self._gone:
            self.problem.add(f"warning: {warned[0]}")

    def _fail(self, error: Exception) -> None:
        """Shows an error that the user can mend; raises any other, so that napari shows its traceback."""
        self.status.value = ""
        if not isinstance(error, EXPECTED_ERRORS):
            raise error
        self.problem.say(sentence(error))

    def _end(self, finishes: list[Finish]) -> None:
        self._worker = None
        if self._gone:  # and the viewer perhaps, too
            return
        self._clock.stop()
        for button in self.buttons.values():
            button.enabled = True
        self.stop_button.enabled = False
        self._bar.visible, self.status.value = False, ""
        for finish in finishes:
            try:
                finish()
            except EXPECTED_ERRORS as error:
                self._fail(error)


def in_time(seconds: float) -> str:
    """Returns about how long something takes, in words."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 100 else f"about {seconds / 3600:.0f} h"
