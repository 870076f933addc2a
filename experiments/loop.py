"""Question: are corrections worth more in the order of the panel than at random, and is training in between?

    python -m experiments.loop DATA/phase_fibroblast --from generalist --folds 3

DATA is a folder with `images/`, `points/` and `masks/`, files paired by name; every second image (`--folds 2`) is
held out. A script plays the loop of the viewer: a model segments the other images, somebody looks at 20 places in
them and corrects the points there, the model learns on from all points as they are now, detections and
corrections, and segments again; three turns. Played are

* `panel`: the places are those of the panel "Cells to look at", of all images at once, the most doubtful first;
* `random`: the places are, in turns, a detection, drawn evenly from those of all images, and a pixel, drawn evenly
  from those of all images. A pixel in an outline is a look at that cell. Skipped, as not looked at, are cells that
  somebody looked at, and pixels elsewhere that are nearer than half a diameter to a place that somebody did;
* both again, `once`: all 60 places first, in the same order or draw, and one training of as many steps in the end;
* `none`: the detections as they are, without a look, in one training;
* `clicks`: every cell clicked, in one training: more than any looks can give.

Whoever looks has the true points, and no masks. A detection is right if it is the partner of a true point within
half the median diameter, as `match_points` pairs them; else it is removed. Missed true points in the outline that
is looked at, or within half a diameter of a place without one, are added. A right detection with a missed point in
its outline counts as split, a wrong one as moved. Right places count as looked at, too. What somebody looked at
stays in later turns: cells that were right or added keep their points, in place of the new detections that
`match_points` pairs with them, and a detection within a quarter of a diameter of a removed one is left out.

How doubtful cells are (`wsis_jax.segmentation.review`) was chosen by how often cells of some kinds were wrong,
segmented by the generalist, fluorescence, phase contrast and yeast among these very data: only kinds and models
that had no part in it are a blind test. See `experiments.clicks` for what the models of the package learned from.

The first table says how many of as many looks find something wrong before any training, of the panel and of 200
random draws. The F-measure counts points within half the median diameter. What was trained is used again, and an
interrupted training goes on; figures go to `scores.json` in the work folder.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from experiments.crossval import figures, half_diameter, ours
from experiments.every_kind import cases_of
from experiments.folds import Case, copied, split, trained_in_time
from experiments.fronts import front
from experiments.generalist import diameter
from wsis_jax.core import Segmentation, preset, write_text
from wsis_jax.metrics import match_points
from wsis_jax.network import Model, load_config, model_folder
from wsis_jax.segmentation import doubts_in, segment
from wsis_jax.training import going_on

WAYS = ("panel", "random", "panel once", "random once", "none", "clicks")
_DRAWS = 200
_SAME = 1e-3  # pixels between two places of one point

_Places = Float64[np.ndarray, "_ 2"]


class Known(NamedTuple):
    """What somebody saw in an image; (row, column) in its pixels."""

    cells: _Places = np.empty((0, 2))  # found right, or added
    wrong: _Places = np.empty((0, 2))  # detections that were removed
    seen: _Places = np.empty((0, 2))  # the places looked at


class Place(NamedTuple):
    """A place to look at: a cell by its index among the points of an image, or a point where none is outlined."""

    image: int
    cell: int | None
    point: tuple[float, float]


class Shown(NamedTuple):
    """A segmented image, with what is known of it, and what is right and wrong.

    Attributes:
        found: the segmentation.
        points: of now: those known to be cells, and then the detections that are neither these nor known as wrong.
        numbers: the label of each of them in the outlines; 0 where it has none.
        known: how many of them are known to be cells.
        right: which have a true point as partner.
        missed: the true points without one.
        half: half the median diameter of the cells, in pixels.
    """

    found: Segmentation
    points: Float64[np.ndarray, "points 2"]
    numbers: Int64[np.ndarray, " points"]
    known: int
    right: Bool[np.ndarray, " points"]
    missed: _Places
    half: float


def shown_with(found: Segmentation, known: Known, truth: _Places, half: float) -> Shown:
    """Returns a segmented image as it is shown to somebody who knows some of it."""
    partners = match_points(found.points, known.cells, distance=half).pairs
    numbers = np.zeros(len(known.cells), np.int64)
    numbers[partners[:, 1]] = partners[:, 0] + 1
    others = np.setdiff1d(np.arange(len(found.points)), partners[:, 0])
    again = match_points(found.points[others], known.wrong, distance=half / 2).pairs[:, 0]
    others = np.delete(others, again)
    points = np.concatenate([known.cells, found.points[others]])
    match = match_points(points, truth, distance=half)
    right = np.zeros(len(points), bool)
    right[match.pairs[:, 0]] = True
    missed = np.delete(truth, match.pairs[:, 1], axis=0)
    return Shown(found, points, np.concatenate([numbers, others + 1]), len(known.cells), right, missed, half)


def look(shown: Shown, known: Known, place: Place) -> tuple[Known, str] | None:
    """Returns what is known after a look at a place, and what was done; None if somebody looked there before."""
    if place.cell is None:
        before = np.concatenate([known.seen, known.cells])
        if _near(before, place.point, shown.half).any():
            return None
        added = shown.missed[_near(shown.missed, place.point, shown.half)]
        seen = np.append(known.seen, [place.point], axis=0)
        return Known(_joined(known.cells, added), known.wrong, seen), "added" if len(added) else "right"
    point = shown.points[place.cell]
    if place.cell < shown.known or _near(known.seen, point, _SAME).any():
        return None
    added = shown.missed[_labels_at(shown, shown.missed) == shown.numbers[place.cell]]
    added = added[[not _near(known.cells, one, _SAME).any() for one in added]]
    seen = np.append(known.seen, point[None], axis=0)
    if shown.right[place.cell]:
        cells = _joined(known.cells, np.concatenate([point[None], added]))
        return Known(cells, known.wrong, seen), "split" if len(added) else "right"
    # Whoever removes the second of two detections of a cell sees the first.
    twin = shown.points[shown.right & _near(shown.points, point, shown.half)]
    cells = _joined(known.cells, np.concatenate([twin, added]))
    wrong = np.append(known.wrong, point[None], axis=0)
    return Known(cells, wrong, seen), "moved" if len(added) else "removed"


def corrected(shown: Shown, known: Known) -> _Places:
    """Returns the points of an image after looks at it: cells that are known, and what nobody looked at."""
    others = shown.points[shown.known :]
    away = np.concatenate([known.cells, known.wrong])
    kept = [not _near(away, point, _SAME).any() for point in others]
    return np.concatenate([known.cells, others[kept]])


def looked(
    shown: Sequence[Shown], known: Sequence[Known], places: Iterator[Place], looks: int
) -> tuple[list[Known], Counter[str]]:
    """Returns what is known after so many looks, or as many as there are places, and how often what was done."""
    now, done = list(known), Counter[str]()
    while done.total() < looks and (place := next(places, None)) is not None:
        seen = look(shown[place.image], now[place.image], place)
        if seen is not None:
            now[place.image], what = seen
            done[what] += 1
    return now, done


def panel_places(shown: Sequence[Shown], model: Model) -> Iterator[Place]:
    """Yields the places in the order of the panel."""
    doubts = [
        (doubt, image) for image, one in enumerate(shown) for doubt in doubts_in(one.found, config=model.config)
    ]
    for doubt, image in sorted(doubts, key=lambda pair: (-pair[0].score, pair[1], pair[0].point)):
        cells = np.flatnonzero(shown[image].numbers == doubt.number).tolist() if doubt.number else [None]
        for cell in cells:
            yield Place(image, cell, doubt.point)


def random_places(shown: Sequence[Shown], draw: np.random.Generator) -> Iterator[Place]:
    """Yields places at random: a detection, a pixel, a detection, …; no detection twice."""
    cells = [(image, cell) for image, one in enumerate(shown) for cell in range(one.known, len(one.points))]
    areas = np.array([one.found.labels.size for one in shown])
    for image, cell in (cells[index] for index in draw.permutation(len(cells))):
        yield Place(image, cell, tuple(shown[image].points[cell].tolist()))
        image = draw.choice(len(shown), p=areas / areas.sum())
        pixel = draw.integers(shown[image].found.labels.shape)
        number = shown[image].found.labels[tuple(pixel)]
        there = np.flatnonzero((shown[image].numbers == number) & (number > 0)).tolist()
        yield Place(image, there[0] if there else None, tuple(pixel.astype(float).tolist()))


def _near(
    points: _Places, place: Sequence[float] | Float64[np.ndarray, " 2"], distance: float
) -> Bool[np.ndarray, " _"]:
    """Tells which points are within a distance of a place."""
    return np.hypot(*(points - np.asarray(place)).T) <= distance


def _joined(points: _Places, more: _Places) -> _Places:
    """Returns points with others, but for those that are among them."""
    new = [not _near(points, one, _SAME).any() for one in more]
    return np.concatenate([points, more[new]])


def _labels_at(shown: Shown, points: _Places) -> Int64[np.ndarray, " points"]:
    """Returns the labels that points lie in; -1 where there is none."""
    labels = shown.found.labels
    rows, columns = np.clip(np.floor(points + 0.5).astype(np.int64), 0, np.array(labels.shape) - 1).T
    there = labels[rows, columns].astype(np.int64)
    return np.where(there > 0, there, -1)


# The experiment


class Row(NamedTuple):
    """A model on the held-out images, and how it came to be."""

    way: str
    turn: int
    looks: int  # in this turn
    done: dict[str, int]  # what the looks led to
    steps: int
    seconds: float
    scores: dict[str, float]


class Game(NamedTuple):
    """What all ways have in common."""

    start: Model
    training: list[Case]
    half: float
    work: Path
    options: argparse.Namespace


class Turn(NamedTuple):
    """What was trained in a turn, after what was looked at."""

    model: Model
    folder: Path
    done: dict[str, int]
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Plays all ways, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--from", dest="start", required=True, metavar="MODEL", help="a run folder, or a name")
    parser.add_argument("--work", type=Path, default=Path("runs/loop"), metavar="DIR")
    parser.add_argument("--folds", type=int, default=2, metavar="N", help="every N-th image is held out (2)")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help=f"of {', '.join(WAYS)}"
    )
    parser.add_argument("--turns", type=int, default=3, metavar="N")
    parser.add_argument("--looks", type=int, default=20, metavar="N", help="in each turn (20)")
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="of training in each turn (50)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (0)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for training")
    options = parser.parse_args(argv)
    channel = load_config(model_folder(options.start)).image.channels or "grey"
    cases = cases_of(options.data, channel=channel)
    training, test = split(cases, 0, options.folds)
    half, work = half_diameter(cases), options.work / options.data.name / f"1of{options.folds}"
    start, folder = copied(options.start, work)
    start = start.using(start.config.for_diameter(diameter(training)))
    game = Game(start, training, half, work, options)

    def scored(model: Model, folder: Path) -> dict[str, float]:
        return figures([front(model, case, folder) for case in test], ours, half)

    rows = [Row(options.start, 0, 0, {}, 0, 0.0, scored(start, folder))]
    for way in options.ways:
        for turn, one in enumerate(played(game, way), 1):
            steps, looks = one.model.config.train.steps, sum(one.done.values())
            rows.append(Row(way, turn, looks, one.done, steps, one.seconds, scored(one.model, one.folder)))
            write_text(work / "scores.json", json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    _print_found(game)
    print(f"\n{len(test)} images held out: {', '.join(case.name for case in test)}")
    _print(rows, half)


def played(game: Game, way: str) -> Iterator[Turn]:
    """Yields the turns of a way, played and trained anew or from the work folder."""
    options, order = game.options, way.removesuffix(" once")
    once = order != way or order in ("none", "clicks")
    turns, share = (1, options.turns) if once else (options.turns, 1)
    looks = 0 if order in ("none", "clicks") else options.looks * share
    model, begin = game.start, options.start
    known = [Known() for _ in game.training]
    for turn in range(1, turns + 1):
        played = f"{way.replace(' ', '-')}-{options.looks}-looks-{options.steps}-steps-{options.seed}"
        folder = game.work / played / f"turn{turn}"
        file = folder.with_suffix(".json")
        if not file.exists():
            shown = _shown(game, model, known)
            draw = np.random.default_rng((options.seed, turn))
            places = random_places(shown, draw) if order == "random" else panel_places(shown, model)
            known, done = looked(shown, known, places, looks)
            points = [corrected(*pair) for pair in zip(shown, known, strict=True)]
            _write_turn(file, known, done, points)
        known, done, points = _read_turn(file)
        if order == "clicks":
            points = [case.points for case in game.training]
        cases = [case._replace(points=own) for case, own in zip(game.training, points, strict=True)]
        config = going_on(begin).override([*options.set, f"train.steps={options.steps * share}"])
        trained = trained_in_time(cases, folder, config)
        model, begin = trained.model.using(preset("default", trained.model.config)), str(folder)
        yield Turn(model, folder, done, trained.seconds)


def _shown(game: Game, model: Model, known: Sequence[Known]) -> list[Shown]:
    """Returns the training images, segmented."""
    return [
        shown_with(segment(model, case.image), own, case.points, game.half)
        for case, own in zip(game.training, known, strict=True)
    ]


def _write_turn(file: Path, known: Sequence[Known], done: Counter[str], points: Sequence[_Places]) -> None:
    """Writes what was looked at in a turn."""
    tree = {
        "known": [{key: places.tolist() for key, places in one._asdict().items()} for one in known],
        "done": dict(done),
        "points": [own.tolist() for own in points],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(tree) + "\n")


def _read_turn(file: Path) -> tuple[list[Known], dict[str, int], list[_Places]]:
    """Reads what `_write_turn` wrote."""
    tree = json.loads(file.read_text())

    def places(rows: list[list[float]]) -> _Places:
        return np.array(rows, np.float64).reshape(-1, 2)

    known = [Known(*(places(one[key]) for key in Known._fields)) for one in tree["known"]]
    return known, tree["done"], [places(rows) for rows in tree["points"]]


def _print_found(game: Game) -> None:
    """Prints how many looks find something wrong before any training, as Markdown."""
    known, options = [Known() for _ in game.training], game.options
    shown = _shown(game, game.start, known)
    wrong, missed = sum(int((~one.right).sum()) for one in shown), sum(len(one.missed) for one in shown)
    cells = sum(len(one.points) for one in shown)
    print(f"\nIn {len(shown)} training images, {cells} detections: {wrong} wrong; {missed} cells missed.")
    print("\n| places looked at | wrong, by the panel | wrong, at random: mean (5 % to 95 % of draws) |")
    print("|---|---|---|")

    def found(places: Iterator[Place], looks: int) -> int:
        done = looked(shown, known, places, looks)[1]
        return done.total() - done["right"]

    for looks in sorted({options.looks, options.looks * options.turns}):
        draws = [found(random_places(shown, np.random.default_rng((1, draw))), looks) for draw in range(_DRAWS)]
        low, high = np.percentile(draws, [5, 95])
        panel = found(panel_places(shown, game.start), looks)
        print(f"| {looks} | {panel} | {np.mean(draws):.1f} ({low:.0f} to {high:.0f}) |")


def _print(rows: Sequence[Row], half: float) -> None:
    """Prints a row for each turn, as Markdown."""
    print(f"\n| places | turn | looked at | of which wrong | steps | seconds | F ({half:.0f} px) | mDice | AP50 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        told = ", ".join(f"{count} {what}" for what, count in sorted(row.done.items()) if what != "right")
        wrong = f"{row.looks - row.done.get('right', 0)}{f': {told}' if told else ''}"
        shown = " | ".join(f"{row.scores[key]:.3f}" for key in ("f_half", "mdice", "ap50"))
        print(f"| {row.way} | {row.turn} | {row.looks} | {wrong} | {row.steps} | {row.seconds:.0f} | {shown} |")


if __name__ == "__main__":
    main()
