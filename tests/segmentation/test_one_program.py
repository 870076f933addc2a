"""One program from images to winner maps: what the steps give one by one, of every image and every setting."""

import jax
import numpy as np
import pytest
from jax import export

from wsis_jax.core import Compilations, kept_program
from wsis_jax.core.types import Segmentation
from wsis_jax.network import chunks
from wsis_jax.segmentation import one_program, pipeline
from wsis_jax.segmentation.pipeline import segment, segment_batch

FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 70368744177664 bytes."


@pytest.fixture
def in_steps(monkeypatch):
    """Runs a function while no image suits the program."""

    def run(function, *arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "suits", lambda *_, **__: False)
            return function(*arguments, **options)

    return run


@pytest.fixture
def counted(monkeypatch):
    """The rooms of the programs that are run."""
    rooms, program = [], one_program.compiled_program()

    def run(*arguments, fixed):
        rooms.append(fixed.room)
        return program(*arguments, fixed=fixed)

    monkeypatch.setattr(one_program, "compiled_program", lambda: run)
    return rooms


def assert_same(found: Segmentation, expected: Segmentation) -> None:
    """Peaks, regions, owners and labels are equal, and values to seven digits of the greatest."""
    for name in ("peaks", "regions"):
        ours, theirs = getattr(found.detection, name), getattr(expected.detection, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.winner.owner, expected.winner.owner)
    np.testing.assert_array_equal(found.labels, expected.labels)
    maps = [(found.detection.likelihood, expected.detection.likelihood)]
    maps += [(getattr(found.winner, name), getattr(expected.winner, name)) for name in ("value", "runner_up")]
    for ours, theirs in maps:
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * max(theirs.max(), 1e-30))


def settings_of(run, *assignments):
    return run.model.config.override(assignments)


@pytest.mark.parametrize(
    ("shape", "sides", "assignments"),
    [
        ((64, 72), None, ["detect.views=4"]),
        ((61, 70), (64, 80), ["detect.views=4", "detect.quantize=true", "detect.exclude_border=3"]),
        ((61, 70), (64, 80), ["detect.views=1", "cut.reach=null"]),
        ((5, 70), None, ["unet.precision=bfloat16"]),  # lower than the mirror image at its border is
    ],
)
def test_a_batch_gives_what_the_steps_give(tiny_run, draw_small, in_steps, counted, shape, sides, assignments):
    drawn = [draw_small(seed, shape=(64, 72)).image[: shape[0], : shape[1]] for seed in (100, 102)]
    config, images = settings_of(tiny_run, *assignments), np.stack(drawn)
    expected = in_steps(segment_batch, tiny_run.model, images, config=config, sides=sides)
    assert not counted
    found = segment_batch(tiny_run.model, images, config=config, sides=sides)
    assert len(counted) == 1
    assert shape[0] == 5 or min(len(one.points) for one in expected) >= 3
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_clicks_give_what_the_steps_give(tiny_run, draw_small, in_steps, counted, monkeypatch):
    scene = draw_small(100, shape=(64, 72))
    points = scene.points[::-1].copy()
    expected = in_steps(segment, tiny_run.model, scene.image, points=points)
    monkeypatch.setattr(one_program, "_LEAST_ROOM", 4)
    assert_same(segment(tiny_run.model, scene.image, points=points), expected)
    assert counted == [8]
    assert len(points) > 4
    nothing = segment(tiny_run.model, scene.image, points=np.empty((0, 2)))
    assert not nothing.labels.any()
    assert counted == [8, 4]


def test_there_is_more_room_where_it_is_needed(tiny_run, draw_small, in_steps, counted, monkeypatch):
    image = draw_small(100, cells=8, shape=(64, 72)).image
    expected = in_steps(segment, tiny_run.model, image)
    assert 4 < len(expected.points) <= 16
    monkeypatch.setattr(one_program, "_LEAST_ROOM", 4)
    assert_same(segment(tiny_run.model, image), expected)
    first, second = counted
    assert first == 4
    assert second in (8, 16)
    monkeypatch.setattr(one_program, "most_room", lambda _: 4)  # no more: the host finds the peaks
    assert_same(segment(tiny_run.model, image), expected)
    assert counted == [first, second, 4]


def test_a_constant_image_of_a_batch_is_warned_of(tiny_run, draw_small):
    image = draw_small(100, shape=(64, 72)).image
    with pytest.warns(UserWarning, match="the image is constant") as heard:
        other, nothing = segment_batch(tiny_run.model, np.stack([image, np.full_like(image, 0.5)]))
    assert len(heard) == 1
    assert not nothing.labels.any()
    assert not nothing.detection.likelihood.any()
    assert not nothing.winner.value.any()
    assert_same(other, segment_batch(tiny_run.model, np.stack([image, image]))[0])


def out_of_memory(*_, **__):
    raise jax.errors.JaxRuntimeError(FULL)


def test_without_memory_for_the_program_steps_are_taken(tiny_run, draw_small, in_steps, monkeypatch):
    image, config = draw_small(100, shape=(64, 72)).image, settings_of(tiny_run, "contribution.chunk=2")
    expected = in_steps(segment, tiny_run.model, image, config=config)
    program, tried = chunks.compiled_winner(), []

    def cramped(*arguments, chunk, **options):
        tried.append(chunk)
        return out_of_memory() if chunk > 1 else program(*arguments, chunk=chunk, **options)

    monkeypatch.setattr(one_program, "compiled_program", lambda: out_of_memory)
    assert_same(segment(tiny_run.model, image, config=config), expected)
    monkeypatch.setattr(chunks, "compiled_winner", lambda: cramped)
    with pytest.warns(UserWarning, match="too small for 2 cells at a time, so 1 were taken"):
        fewer = segment(tiny_run.model, image, config=config)
    assert tried == [2, 1]
    np.testing.assert_array_equal(fewer.labels, expected.labels)


def test_other_errors_of_the_program_are_told(tiny_run, draw_small, monkeypatch):
    def broken(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault")

    monkeypatch.setattr(one_program, "compiled_program", lambda: broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: a fault"):
        segment(tiny_run.model, draw_small(100, shape=(64, 72)).image)


def test_images_of_many_sizes_and_thresholds_are_one_program(tiny_run, draw_small):
    config, compilations = settings_of(tiny_run, "cut.reach=5.5"), Compilations()  # as in no other test
    for number, shape in enumerate([(64, 72), (40, 51), (33, 72)]):
        config = config.override([f"detect.threshold=0.{3 + number}", f"detect.min_distance={2 + number}"])
        segment(tiny_run.model, draw_small(100 + number, shape=shape).image, config=config, sides=(64, 72))
    points = np.array([[20.0, 30.0]])
    segment(tiny_run.model, draw_small(100, shape=(60, 60)).image, config=config, sides=(64, 72), points=points)
    assert (compilations.compiled + compilations.loaded)["image_to_winner_map"] == 1


def test_a_program_that_is_kept_gives_the_same(tiny_run, draw_small, monkeypatch, tmp_path):
    image = draw_small(100, shape=(64, 72)).image
    expected = segment(tiny_run.model, image)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        for _ in range(2):  # traced, and from the file
            program = kept_program(one_program.image_to_winner_map)
            monkeypatch.setattr(one_program, "compiled_program", lambda program=program: program)
            assert_same(segment(tiny_run.model, image), expected)
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    assert len(list((tmp_path / "traced").iterdir())) == 1


def test_the_program_can_be_kept_for_accelerators(tiny_run, draw_small, monkeypatch):
    platforms = []

    def exported(*arguments, fixed):
        leaves, structure = jax.tree.flatten(arguments)

        def of_leaves(*leaves):
            return one_program.image_to_winner_map(*jax.tree.unflatten(structure, leaves), fixed=fixed)

        program = export.export(jax.jit(of_leaves), platforms=["cuda", "tpu"])(*leaves)
        platforms.extend(export.deserialize(program.serialize()).platforms)
        raise MemoryError  # it cannot be run here: steps are taken

    monkeypatch.setattr(one_program, "compiled_program", lambda: exported)
    segment(tiny_run.model, draw_small(100, shape=(64, 72)).image)
    assert platforms == ["cuda", "tpu"]


def test_what_the_program_suits(tiny_run, monkeypatch):
    response = settings_of(tiny_run, "detect.region=response")
    assert one_program.suits(tiny_run.model.config, clicked=False)
    assert not one_program.suits(response, clicked=False)
    assert one_program.suits(response, clicked=True)
    assert not one_program.suits(settings_of(tiny_run, "contribution.method=vmap"), clicked=True)
    monkeypatch.setattr(one_program.jax, "local_device_count", lambda: 2)
    assert not one_program.suits(tiny_run.model.config, clicked=False)
