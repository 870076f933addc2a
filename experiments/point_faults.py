"""Question: does the point report name the faults that are planted in real points, and does it cry wolf?

    python -m experiments.point_faults DATA/phase_fibroblast DATA/phase_nuclei_hela ...

DATA is a folder with `images/`, `points/` and `masks/`. In turn a third of the images of a set get a fault, the
others stay as they are: points shifted by one spacing in a random direction, rows and columns swapped, or the
points of the next image. The table counts the images whose fault is named by the right sentence, and the
sentences that say so of points that are in place. Then a tenth of all points is taken away: how many have a
suspected place within half a spacing? The last column counts the places suspected in points as they were
clicked; some of them are cells that nobody clicked on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from experiments.folds import read_cases
from wsis_jax.metrics import match_points
from wsis_jax.points import PointReport, inspect_points, suggest_sigma

_TURNS = 3  # every image is faulty in one of them
_NAMED = {"shifted": "look shifted", "swapped": "look swapped", "of the next image": "no better than chance"}

_Points = Float64[np.ndarray, "_ 2"]


def main(argv: Sequence[str] | None = None) -> None:
    """Plants the faults in each set, and prints a row for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    arguments = parser.parse_args(argv)
    print(f"| set | images | {' | '.join(_NAMED)} | false alarms | taken away, found | suspected as clicked |")
    print("|---|---|---|---|---|---|---|---|")
    for data in arguments.data:
        cases = read_cases(data)
        images, names, clicks = ([getattr(case, key) for case in cases] for key in ("image", "name", "points"))
        clean = inspect_points(names, clicks, images)
        cells = [str(len(cases))]
        alarms = sum(_misplaced(report) for report in clean)
        for fault, sentence in _NAMED.items():
            named = 0
            for turn in range(min(_TURNS, len(cases))):
                faulty = [index % _TURNS == turn for index in range(len(cases))]
                planted = [_plant(fault, clicks, i) if bad else clicks[i] for i, bad in enumerate(faulty)]
                for report, bad in zip(inspect_points(names, planted, images), faulty, strict=True):
                    if bad:
                        named += any(sentence in line for line in report.faults)
                    else:
                        alarms += _misplaced(report)
            cells.append(f"{named} of {len(cases)}")
        taken, found = _find_missing(names, clicks, images)
        suspected = sum(len(report.missing) for report in clean)
        cells += [str(alarms), f"{found} of {taken}", f"{suspected} beside {sum(map(len, clicks))}"]
        print(f"| {data.name} | {' | '.join(cells)} |", flush=True)


def _misplaced(report: PointReport) -> bool:
    """Tells whether a report says that the points are misplaced."""
    return any(sentence in fault for fault in report.faults for sentence in _NAMED.values())


def _plant(fault: str, clicks: list[_Points], index: int) -> _Points:
    """Returns the points of an image with a fault."""
    own = clicks[index]
    if fault == "shifted":
        angle = np.random.default_rng(index).uniform(0, 2 * np.pi)
        return own + 4 * suggest_sigma(clicks) * np.array([np.cos(angle), np.sin(angle)])
    return own[:, ::-1] if fault == "swapped" else clicks[(index + 1) % len(clicks)]


def _find_missing(names: list[str], clicks: list[_Points], images: list[np.ndarray]) -> tuple[int, int]:
    """Returns how many points are taken away, and how many of these have a suspected place."""
    taken = found = 0
    gone, kept = [], []
    for index, own in enumerate(clicks):
        order = np.random.default_rng(index).permutation(len(own))
        gone.append(own[order[: len(own) // 10]])
        kept.append(own[np.sort(order[len(own) // 10 :])])
    for report, away in zip(inspect_points(names, kept, images), gone, strict=True):
        taken += len(away)
        found += match_points(report.missing, away, distance=2 * suggest_sigma(clicks)).true_positives
    return taken, found


if __name__ == "__main__":
    main()
