"""The curve of a training while it trains."""

from typing import Any, NamedTuple

import numpy as np
from qtpy.QtCore import QPointF, QSize
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_HEIGHT, _MARGIN, _TEXT = 110, 6, 16  # pixels of the screen
_LINES = {"F-measure": "#4fc3f7", "loss": "#bdbdbd", "of checked images": "#ffb74d"}


class Validation(NamedTuple):
    """The figures of a validation."""

    step: int
    loss: float
    checked: float  # the loss of held-out images, or of training images where none is held out
    f_measure: float


class Curve(QWidget):
    """Draws the F-measure from 0 to 1, and the losses from the least to the greatest, on a logarithmic scale."""

    def __init__(self) -> None:
        super().__init__()
        self.validations: list[Validation] = []
        self.checked = "held out"  # what the second loss is of
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(_HEIGHT)
        self.hide()

    def sizeHint(self) -> QSize:
        """Returns how large it wants to be."""
        return QSize(240, _HEIGHT)

    def clear(self, checked: str) -> None:
        """Forgets the training before; `checked` says what validations are of."""
        self.validations, self.checked = [], checked
        self.hide()

    def add(self, metrics: dict[str, Any]) -> None:
        """Adds the figures of a validation."""
        values = (metrics[key] for key in ("step", "loss", "validation_loss", "f_measure"))
        self.validations.append(Validation(*values))
        self.show()
        self.update()

    def paintEvent(self, a0: QPaintEvent | None) -> None:
        """Draws the lines, and what they are."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor("#20242b"))
        names = dict(zip(_LINES, ("F", "loss", f"loss {self.checked}"), strict=True))
        left = _MARGIN
        for name, values in lines_of(self.validations, self.width(), self.height()).items():
            painter.setPen(QPen(QColor(_LINES[name]), 2.0))
            polygon = QPolygonF([QPointF(x, y) for x, y in values])
            painter.drawPolyline(polygon)
            for point in polygon:
                painter.drawEllipse(point, 1.5, 1.5)
            text = f"{names[name]} {latest(self.validations, name):.3g}"
            painter.drawText(QPointF(left, _TEXT - 4.0), text)
            left += painter.fontMetrics().horizontalAdvance(text) + 12
        painter.end()


def latest(validations: list[Validation], name: str) -> float:
    """Returns the last value of a line."""
    return float(_values(validations, name)[-1])


def lines_of(validations: list[Validation], width: int, height: int) -> dict[str, list[tuple[float, float]]]:
    """Returns the lines of validations, (x, y) in pixels of a picture, y downwards; none without a validation."""
    if not validations:
        return {}
    steps = np.array([one.step for one in validations], float)
    x = _MARGIN + (width - 2 * _MARGIN) * steps / max(steps[-1], 1.0)  # the model to start from is at 0
    losses = np.log10(np.maximum([[one.loss, one.checked] for one in validations], 1e-12))
    low, high = losses.min(), losses.max()
    lines = {}
    for name in _LINES:
        values = _values(validations, name)
        if name != "F-measure":
            values = (np.log10(np.maximum(values, 1e-12)) - low) / max(high - low, 1e-9)
        y = height - _MARGIN - (height - _TEXT - 2 * _MARGIN) * values
        lines[name] = list(zip(x.tolist(), y.tolist(), strict=True))
    return lines


def _values(validations: list[Validation], name: str) -> np.ndarray:
    keys = {"F-measure": "f_measure", "loss": "loss", "of checked images": "checked"}
    return np.array([getattr(one, keys[name]) for one in validations], float)
