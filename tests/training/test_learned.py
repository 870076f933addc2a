"""What a run keeps of what it learned from, and how trainings differ in that."""

import json

import numpy as np
import pytest

from wsis_jax.training.data import TrainingSet
from wsis_jax.training.learned import differences, digest_of_image, learned_from, read_clicks, save_clicks

IMAGES = [np.arange(12, dtype=np.float32).reshape(3, 4) + number for number in range(3)]
POINTS = [np.array([[0.1 + 0.2, 1.0], [2.0, 3.0]]), np.empty((0, 2)), np.array([[1.0, 1.0]])]
DATA = TrainingSet(IMAGES, POINTS, ["Zelle ä.tif with a.csv", "image 1", "c"])


def told(data: TrainingSet) -> list[str]:
    return differences(learned_from(DATA), learned_from(data))


def test_clicks_come_back_as_they_were(tmp_path):
    data = DATA._replace(uncertain=[np.empty((0, 2)), np.array([[1.5, 2.5]]), np.empty((0, 2))])
    save_clicks(tmp_path, learned_from(data))
    kept = read_clicks(tmp_path)
    assert kept is not None
    assert [one.name for one in kept] == DATA.names
    for one, image, points in zip(kept, IMAGES, POINTS, strict=True):
        assert one.digest == digest_of_image(image)
        np.testing.assert_array_equal(one.points, points)  # to the last digit
    assert [one.left_out.tolist() for one in kept] == [[], [[1.5, 2.5]], []]
    assert differences(learned_from(data), kept) == []
    # An image a line, for who opens it in an editor.
    assert len((tmp_path / "clicks.json").read_text(encoding="utf-8").splitlines()) == 5
    assert "Zelle ä.tif" in (tmp_path / "clicks.json").read_text(encoding="utf-8")


def test_a_folder_without_clicks_tells_nothing(tmp_path):
    assert read_clicks(tmp_path) is None


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {},
        {"images": 3},
        {"images": [3]},
        {"images": [{"name": "a", "digest": "0"}]},
        {"images": [{"name": "a", "digest": "0", "points": [[1, 2, 3]]}]},
        {"images": [{"name": "a", "digest": "0", "points": [[1, 10**400]]}]},
        {"images": [{"name": "a", "digest": "0", "points": [[1, float("nan")]]}]},
    ],
)
def test_damaged_clicks_are_refused(tmp_path, tree):
    (tmp_path / "clicks.json").write_text(json.dumps(tree))
    with pytest.raises(
        ValueError, match=r"clicks\.json: does not hold the clicks of a training .*; delete it to do"
    ):
        read_clicks(tmp_path)


def test_a_digest_is_of_the_values_and_the_shape():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert digest_of_image(image) == digest_of_image(np.asfortranarray(image.astype(np.float64)))
    assert digest_of_image(image) != digest_of_image(image.reshape(3, 2))
    assert digest_of_image(image) != digest_of_image(image + np.uint8(1))


def test_what_is_the_same_does_not_differ():
    assert told(DATA) == []
    assert told(DATA._replace(points=[own[::-1] for own in POINTS])) == []
    assert told(DATA._replace(names=["x", "y", "z"])) == []


def test_each_difference_names_its_image():
    more = [np.append(POINTS[0], [[0.0, 0.0]], axis=0), np.array([[1.0, 2.0]]), POINTS[2] + 0.5]
    assert told(DATA._replace(points=more)) == [
        "image Zelle ä.tif with a.csv: 2 points, 3 now",
        "image 1: 0 points, 1 now",
        "image c: 1 point, in other places now",
    ]
    assert told(DATA._replace(images=[*IMAGES[:2], IMAGES[2] + 9])) == ["image c: other pixels"]
    without = DATA._replace(images=IMAGES[:2], points=POINTS[:2], names=DATA.names[:2])
    assert told(without) == ["image c: is missing now"]
    assert differences(learned_from(without), learned_from(DATA)) == ["image c: is new"]
    assert told(DATA._replace(uncertain=[np.empty((0, 2)), np.empty((0, 2)), np.ones((2, 2))])) == [
        "image c: 0 places left out of the loss, 2 now"
    ]
    turned = TrainingSet(IMAGES[::-1], POINTS[::-1], DATA.names[::-1])
    assert told(turned) == ["the images are in another order"]
    assert told(TrainingSet([IMAGES[0] - 5], [POINTS[0]], ["other"])) == ["all images are others"]


def test_of_many_differences_some_are_named():
    names = [f"{number}" for number in range(10)]
    images = [IMAGES[0] + 10 * number for number in range(10)]
    many = TrainingSet(images, [np.empty((0, 2))] * 10, names)
    moved = many._replace(points=[np.ones((1, 2))] * 10)
    said = differences(learned_from(many), learned_from(moved))
    assert said == [*(f"image {number}: 0 points, 1 now" for number in range(4)), "and 6 more"]
