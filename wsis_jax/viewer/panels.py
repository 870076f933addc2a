"""What the widgets are made of: a panel that scrolls, and a message that is shown in full."""

from collections.abc import Sequence
from typing import Any

from magicgui.widgets import Container, TextEdit
from qtpy.QtCore import QSizeF
from qtpy.QtGui import QTextOption
from qtpy.QtWidgets import QWidget

_TALLEST, _FRAME = 160, 12  # of a message, in pixels of the screen: longer ones are scrolled


class Panel(Container):
    """Widgets below each other, which are scrolled where the window is too low for them."""

    def __init__(self, widgets: Sequence[Any]) -> None:
        super().__init__(widgets=widgets, scrollable=True)

    @property
    def native(self) -> QWidget:
        """The widget that napari puts into a dock: with what scrolls."""
        return self.root_native_widget

    def insert_native(self, position: int, widget: QWidget) -> None:
        """Inserts a widget of Qt."""
        self._widget._mgui_get_native_widget().layout().insertWidget(position, widget)


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
