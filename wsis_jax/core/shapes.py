"""Sides that images are padded to, so that a folder of many sizes needs few compiled programs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

# Merging looks at all pairs of sizes; beyond so many, sizes are rounded up more coarsely first.
_MOST_SIZES = 48

Sides = tuple[int, int]


def shared_sides(shapes: Iterable[Sides], *, stride: int, programs: int = 4) -> list[Sides]:
    """Returns at most `programs` pairs of sides; every shape fits into one of them.

    Starting from the shapes themselves, the two whose union wastes the fewest pixels become one, until few
    enough are left.

    Args:
        shapes: (height, width) of every image, in pixels of the network.
        stride: sides are multiples of this.
        programs: how many pairs may be left, at least 1.
    """
    shapes = list(shapes)
    counts = Counter(rounded_up(shape, stride) for shape in shapes)
    unit = stride
    while len(counts) > _MOST_SIZES:
        unit *= 2
        counts = Counter(rounded_up(shape, unit) for shape in shapes)
    while len(counts) > programs:
        _, a, b = min((_waste(a, b, counts), a, b) for a, b in combinations(sorted(counts), 2))
        both = counts.pop(a) + counts.pop(b)
        counts[_union(a, b)] += both
    return sorted(counts)


def fitting(shape: Sides, sides: Sequence[Sides]) -> Sides | None:
    """Returns the smallest of the sides that a shape fits into, or None if there is none."""
    large_enough = [pair for pair in sides if pair[0] >= shape[0] and pair[1] >= shape[1]]
    return min(large_enough, key=lambda pair: pair[0] * pair[1], default=None)


def rounded_up(shape: Sides, stride: int) -> Sides:
    """Returns the sides rounded up to multiples of the stride."""
    return -(-shape[0] // stride) * stride, -(-shape[1] // stride) * stride


def _union(a: Sides, b: Sides) -> Sides:
    return max(a[0], b[0]), max(a[1], b[1])


def _waste(a: Sides, b: Sides, counts: Counter[Sides]) -> int:
    """Returns how many pixels more are computed when two pairs of sides become one."""
    union = _union(a, b)
    return sum(counts[pair] * (union[0] * union[1] - pair[0] * pair[1]) for pair in (a, b))
