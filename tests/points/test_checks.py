"""The point report: every planted fault is named, and good points have none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsis_jax.points.checks import best_placement, fit, inspect_points
from wsis_jax.points.likelihood import render_likelihood
from wsis_jax.synthetic import draw_scene

NAMES = ["a", "b", "c"]
# Small ones, for speed: a draft that learned from two of them is rough.
SCENES = [draw_scene(seed, shape=(280, 320), cells=36, diameter=26.0) for seed in range(3)]
IMAGES = [60_000 * scene.image for scene in SCENES]
POINTS = [scene.points for scene in SCENES]


def inspect(changes: dict[str, np.ndarray], images=IMAGES) -> dict:
    """Reports on the scenes, some with other points."""
    points = [changes.get(name, own) for name, own in zip(NAMES, POINTS, strict=True)]
    return {report.name: report for report in inspect_points(NAMES, points, images)}


def test_good_points_have_no_faults():
    for report, points in zip(inspect({}).values(), POINTS, strict=True):
        assert report.faults == ()
        assert report.points == 36
        assert report.shape == (280, 320)
        assert report.density == pytest.approx(36e6 / 280 / 320)
        distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(36)
        assert report.spacing == pytest.approx(np.median(distances.min(1)))
        assert report.fit > 10
        assert len(report.outside) == len(report.doubled) == 0
        assert len(report.missing) <= 3


def test_shifted_points_are_told_how_to_move_back():
    reports = inspect({"a": POINTS[0] + [14, -9]})
    assert any("look shifted" in fault for fault in reports["a"].faults)
    moved = next(fault for fault in reports["a"].faults if "look shifted" in fault)
    rows, columns = (int(word) for word in moved.split() if word[0] in "+-" and word[1:].isdigit())
    assert (rows, columns) == (pytest.approx(-14, abs=3), pytest.approx(9, abs=3))
    assert len(reports["a"].missing) == 0  # of misplaced points nobody knows what is missing
    assert reports["b"].faults == reports["c"].faults == ()


def test_swapped_points_are_known_even_if_they_stay_inside():
    side = 280
    square = [image[:, :side] for image in IMAGES]
    points = [own[own[:, 1] < side - 1] for own in POINTS]
    reports = inspect_points(NAMES, [points[0][:, ::-1], *points[1:]], square)
    assert reports[0].faults == ("rows and columns look swapped; swap their names in the header",)
    assert reports[1].faults == reports[2].faults == ()


def test_exchanged_files_are_told_apart():
    reports = inspect({"a": POINTS[1], "b": POINTS[0]})
    chance = "the points fit the image no better than chance; they fit {}, so the files may be mixed up"
    assert chance.format("b") in reports["a"].faults
    assert chance.format("a") in reports["b"].faults
    assert reports["c"].faults == ()


def test_points_of_an_image_that_is_not_there_fit_no_better_than_chance():
    reports = inspect({"a": draw_scene(7, shape=(280, 320), cells=36, diameter=26.0).points})
    assert reports["a"].faults == ("the points fit the image no better than chance; give those of this image",)


def test_a_point_outside_and_a_doubled_one_are_named():
    doubled = POINTS[1][4] + [1, 1]
    reports = inspect({"b": np.vstack([POINTS[1], doubled, [400, 10]])})
    outside, twice = reports["b"].faults
    assert outside == (
        "1 point is outside of the image of 280 rows and 320 columns, the first (number 37, counted from 0) at "
        "row 400, column 10; correct or delete"
    )
    assert twice.startswith("1 cell looks marked twice, the first at row ")
    assert "(points 4 and 36, 1.4 pixels apart); delete one of the two" in twice
    assert reports["b"].outside.tolist() == [37]
    assert reports["b"].doubled.tolist() == [[4, 36]]


def test_an_image_without_points_is_named_with_what_it_seems_to_show():
    (fault,) = inspect({"c": np.empty((0, 2))})["c"].faults
    count = int(fault.removeprefix("the image has no points, but ").split()[0])
    assert 18 <= count <= 45
    assert fault.endswith("add some, or leave the image out if it shows cells")


def test_missing_points_are_found_where_they_were():
    gone, kept = POINTS[0][:14], POINTS[0][14:]
    report = inspect({"a": kept})["a"]
    nearest = np.linalg.norm(report.missing[:, None] - gone[None], axis=2).min(0)
    assert np.count_nonzero(nearest < 10) >= 4
    assert len(report.missing) <= 10
    assert report.faults[-1].endswith("and have no point; look at the picture, and add what is missing")


@pytest.mark.parametrize("how", ["swapped", "random"])
def test_a_lone_image_tells_when_its_points_have_nothing_to_do_with_it(how):
    random = np.random.default_rng(0).uniform(0, 280, (36, 2))
    (report,) = inspect_points(["a"], [POINTS[0][:, ::-1] if how == "swapped" else random], IMAGES[:1])
    assert any("nothing in the image tells why the points are where they are" in fault for fault in report.faults)
    assert any("swap their names" in fault for fault in report.faults) == (how == "swapped")


def test_without_an_image_only_the_points_are_judged():
    report = inspect({"a": np.vstack([POINTS[0], POINTS[0][:1]])}, images=[None, *IMAGES[1:]])["a"]
    assert (report.shape, report.density, report.fit) == (None, None, None)
    assert len(report.outside) == len(report.border) == len(report.missing) == 0
    assert len(report.faults) == 1
    assert "marked twice" in report.faults[0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points_are_no_fault_of_their_own(count):
    (report,) = inspect_points(["a"], [POINTS[0][:count]], IMAGES[:1])
    assert report.points == count
    assert all("no points" in fault or "no point;" in fault for fault in report.faults)


def test_every_image_is_counted_twice():
    calls = []
    inspect_points(NAMES, POINTS, IMAGES, on_image=lambda *call: calls.append(call))
    assert calls == [(done, 6) for done in range(1, 7)]


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 40))
def test_outside_border_and_doubled_are_those_of_their_definitions(seed, count):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-20, 120, (count, 2))
    image = np.zeros((100, 90), np.float32)
    (report,) = inspect_points(["a"], [points], [image])
    rows, columns = points.T
    out = (rows < -0.5) | (rows >= 99.5) | (columns < -0.5) | (columns >= 89.5)
    assert report.outside.tolist() == np.flatnonzero(out).tolist()
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(count)
    sigma = 0.25 * np.median(distances.min(1))
    near = (rows + 0.5 < sigma) | (99.5 - rows < sigma) | (columns + 0.5 < sigma) | (89.5 - columns < sigma)
    assert report.border.tolist() == np.flatnonzero(near & ~out).tolist()
    pairs = [[i, j] for i in range(count) for j in range(i + 1, count) if distances[i, j] <= 0.8 * sigma]
    assert report.doubled.tolist() == pairs


# How well points fit a map: zero by chance, and greatest where they belong

MAP_SHAPE = (90, 120)
# No two of them are as far apart as two others.
MAP_POINTS = np.array([[30.0, 40.0], [33.0, 71.0], [50.0, 52.0], [61.0, 88.0], [44.0, 33.0], [58.0, 60.0]])
MAP = render_likelihood(MAP_POINTS, MAP_SHAPE, sigma=3.0)


def plain_fit(values: np.ndarray, points: np.ndarray) -> float:
    """The definition, point by point."""
    total = 0.0
    for row, column in np.round(points).astype(int):
        if 0 <= row < values.shape[0] and 0 <= column < values.shape[1]:
            total += (values[row, column] - values.mean()) / values.std()
    return total / len(points) ** 0.5


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(1, 30))
def test_the_fit_is_that_of_its_definition(seed, count):
    rng = np.random.default_rng(seed)
    values, points = rng.random((20, 30)), rng.uniform(-10, 40, (count, 2))
    assert fit(values, points) == pytest.approx(plain_fit(values, points), abs=1e-8)


def test_points_at_random_fit_by_chance():
    rng = np.random.default_rng(0)
    fits = [fit(rng.random(MAP_SHAPE), rng.uniform(0, 89, (50, 2))) for _ in range(400)]
    assert abs(np.mean(fits)) < 0.2
    assert np.std(fits) == pytest.approx(1, abs=0.15)


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(-22, 22), columns=st.integers(-22, 22))
def test_shifted_points_are_found_where_they_belong(rows, columns):
    placement = best_placement(MAP, MAP_POINTS + np.array([rows, columns]))
    assert not placement.swapped
    assert placement.shift == (-rows, -columns)
    assert placement.best == pytest.approx(fit(MAP, MAP_POINTS))


@settings(deadline=None, max_examples=10)
@given(rows=st.integers(-22, 22), columns=st.integers(-22, 22))
def test_the_best_place_is_that_of_all_places_tried(rows, columns):
    moved = MAP_POINTS + np.array([rows, columns])
    reach = range(-22, 23)  # a quarter of 90
    fits = [
        plain_fit(MAP, own + np.array([r, c])) for own in (moved, moved[:, ::-1]) for r in reach for c in reach
    ]
    assert best_placement(MAP, moved).best == pytest.approx(max(fits))


def test_swapped_points_are_known():
    placement = best_placement(MAP, MAP_POINTS[:, ::-1])
    assert placement.swapped
    assert placement.shift == (0, 0)
    assert placement.here < 0.3 * placement.best


def test_points_that_fit_stay():
    placement = best_placement(MAP, MAP_POINTS)
    assert placement[1:] == (placement.here, False, (0, 0))


@pytest.mark.parametrize(("values", "points"), [(MAP, np.empty((0, 2))), (np.ones(MAP_SHAPE), MAP_POINTS)])
def test_where_there_is_nothing_to_compare_the_fit_is_zero(values, points):
    assert fit(values, points) == 0
    assert best_placement(values, points).best == 0
