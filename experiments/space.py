"""What may be tuned of a method: for each parameter a range or a choice, reached from a number of 0..1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """All numbers between two; on a logarithmic scale, or rounded to whole numbers, if asked."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> float | int:
        """Returns the value at a share, 0..1, of the way from low to high."""
        if self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else float(value)


@dataclass(frozen=True)
class Choice:
    """One of a few values, in an order in which neighbours are alike if there is one."""

    options: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """Returns the option that a share, 0..1, falls into."""
        return self.options[min(int(share * len(self.options)), len(self.options) - 1)]


Space = Mapping[str, Range | Choice]
"""By the name of a method's field."""
