"""Numbers and lists of things in messages."""

from collections.abc import Sequence

_TOLD = 10  # things of a list; of more their number


def so_many(count: int, what: str = "channel") -> str:
    """Returns a number of things, as `1 image` and `3200 images`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def first_of(told: Sequence[str], most: int = _TOLD) -> list[str]:
    """Returns the first things of a list, and of more how many there are: `and 3 more`."""
    return [*told[:most], *([f"and {len(told) - most} more"] if len(told) > most else [])]


def in_short(names: Sequence[object], most: int = 1) -> str:
    """Returns the first names of a list, and of more how many there are, in a line: `a.tif, b.tif and 3 more`."""
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
