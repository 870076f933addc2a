"""What the widgets are made of: a panel that scrolls, and a message that is shown in full."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from magicgui.widgets import Container, TextEdit
from qtpy.QtCore import QSizeF, QTimer
from qtpy.QtGui import QTextOption
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

_NAME = "wsis_jax panel"  # to Qt
_TALLEST, _FRAME = 160, 12  # of a message, in pixels of the screen: longer ones are scrolled


class Panel(Container):
    """Widgets below each other, which are scrolled where the window is too low; panels in docks become tabs."""

    def __init__(self, widgets: Sequence[Any]) -> None:
        super().__init__(widgets=widgets, scrollable=True)
        self._inner = self._widget._mgui_get_native_widget().layout()
        self._inner.addStretch(1)
        self.native.setObjectName(_NAME)
        self._tries = 10
        QTimer.singleShot(0, self._become_tab)

    @property
    def native(self) -> QWidget:
        """The widget that napari puts into a dock: with what scrolls."""
        return self.root_native_widget

    def insert_native(self, position: int, widget: QWidget) -> None:
        """Inserts a widget of Qt; the last one for -1."""
        self._inner.insertWidget(position if position >= 0 else self._inner.count() - 1, widget)

    def _become_tab(self) -> None:
        """Shares the place of another panel in a dock, since there is no room for all of them below each other."""
        with suppress(RuntimeError):  # it was closed
            dock = _dock_of(self.native)
            self._tries -= 1
            if dock is None and self._tries:  # napari docks it after it was made
                QTimer.singleShot(100, self._become_tab)
            window = None if dock is None else dock.parent()
            if dock is None or not isinstance(window, QMainWindow) or window.tabifiedDockWidgets(dock):
                return
            panels = [one for one in window.findChildren(QWidget, _NAME) if one is not self.native]
            others = [one for one in map(_dock_of, panels) if one is not None and not one.isFloating()]
            if others and others[0] is not dock and others[0].parent() is window:
                window.tabifyDockWidget(others[0], dock)
                dock.raise_()


def _dock_of(widget: Any) -> QDockWidget | None:
    """Returns the dock that a widget is in."""
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parent()
    return widget


class Message(TextEdit):
    """A text that is shown in full, wrapped, to be selected and copied; hidden while it is empty."""

    def __init__(self) -> None:
        super().__init__(value="", visible=False)
        self.native.setReadOnly(True)
        # Paths have no spaces to break at.
        self.native.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.native.setStyleSheet("QTextEdit { border: 1px solid #d9822b; }")
        self.native.document().documentLayout().documentSizeChanged.connect(self._fit)

    def say(self, text: str) -> None:
        """Shows a text in place of the one before; an empty one hides the message."""
        self.value, self.visible = text, bool(text)

    def _fit(self, size: QSizeF) -> None:
        """Is as high as its text, which is as wide as the widget."""
        self.native.setFixedHeight(min(int(size.height()) + _FRAME, _TALLEST))

    def add(self, text: str) -> None:
        """Adds a paragraph, unless it says the same as one before."""
        if text not in self.value.split("\n\n"):
            self.say(f"{self.value}\n\n{text}".strip())
