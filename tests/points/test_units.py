"""Points in micrometres are told from points in pixels by how they fit their image."""

import numpy as np
import pytest

from wsis_jax.core import UserError
from wsis_jax.points.units import check_unit
from wsis_jax.synthetic import draw_scene

SCENES = [draw_scene(seed, shape=(220, 260), cells=34, diameter=24.0) for seed in range(3)]


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("size", [0.3, 0.65, 1.6])
def test_micrometres_are_refused_and_pixels_are_not(scene, size):
    check_unit(scene.image, scene.points, size, name="a")
    check_unit(np.stack([scene.image] * 3, axis=-1), scene.points, size, name="a")
    with pytest.raises(
        UserError, match=rf"^a: the points look as if .* at the {size:g} µm a pixel .*--points-in um"
    ):
        check_unit(scene.image, scene.points * size, size, name="a")


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_points_in_a_corner_alone_are_no_micrometres(size):
    scene = SCENES[0]
    corner = scene.points[(scene.points < np.array(scene.image.shape) * min(size, 1 / size)).all(axis=1)]
    assert len(corner) > 3
    check_unit(scene.image, corner, size, name="a")


def test_nothing_is_said_where_nothing_is_known():
    scene = SCENES[0]
    for points, size in [
        (scene.points, None),
        (scene.points / 2, None),
        (scene.points, 1.0),
        (np.empty((0, 2)), 0.5),
    ]:
        check_unit(scene.image, points, size, name="a")
    check_unit(scene.image, np.full((5, 2), 3.0), 0.5, name="a")
    slip = np.vstack([scene.points, [[scene.image.shape[0] + 5, 3]]])
    check_unit(scene.image, slip, 1.6, name="a")  # `check_points` says that it is outside
    check_unit(np.zeros((100, 100), np.float32), np.random.default_rng(0).uniform(0, 40, (30, 2)), 0.5, name="a")
