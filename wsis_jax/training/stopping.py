"""Being asked to stop, and stopping where nothing is lost."""

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody has asked to stop.

    Attributes:
        asked: by a signal, or by a KeyboardInterrupt in a block that `when_interrupted` watches.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def when_interrupted(self) -> Iterator[None]:
        """Takes a KeyboardInterrupt in the block for a wish to stop."""
        try:
            yield
        except KeyboardInterrupt:
            self.asked = True

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal; a second one is impatience, and interrupts at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def soft_stop() -> Generator[Stop, None, None]:
    """Turns Ctrl-C and SIGTERM into a wish, as long as the block runs; whoever runs asks `Stop.asked` for it.

    Signals that are ignored stay so. Beside the main thread, where Python handles no signal, there are only the
    blocks of `Stop.when_interrupted`.
    """
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {number: old for number, old in before.items() if old not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
