"""Exported functions: the numbers of the package, for sizes that were unknown at export, without the package."""

import json
import os
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from jax.export import deserialize

from wsis_jax.cli import export, main
from wsis_jax.core.config import Config
from wsis_jax.network import export as export_module
from wsis_jax.network.chunks import Cells, contribution_maps, winner_map_in_chunks
from wsis_jax.network.contributions import contribution_windows
from wsis_jax.network.export import export_contributions, export_forward
from wsis_jax.network.model import Model
from wsis_jax.network.unet import UNet, initial_variables, predict
from wsis_jax.points.likelihood import centre_regions

FILES = {"forward.stablehlo", "contributions.stablehlo", "export.json"}
RADIUS = 1.5 * 3  # detect.radius × sigma
SHAPES = [(32, 40), (16, 64)]


CHANNELS = {1: "grey", 3: "colours"}


def some_run(*settings, align_corners=False, inputs=1):
    """An untrained network that signals get through, with settings for small cells."""
    model = UNet((4, 6), (4,), align_corners=align_corners, inputs=inputs)
    variables = initial_variables(model, 0)
    params = jax.tree.map(np.array, variables["params"])
    params["output"]["kernel"] = np.abs(params["output"]["kernel"])
    few = ["image.scale=1", "likelihood.sigma=3", "detect.radius=1.5", "cut.reach=3"]
    few.append(f"image.channels={CHANNELS[inputs]}")
    return Model.of(model, {**variables, "params": params}, Config().override([*few, *settings]))


def loaded(exported):
    """The function that a program would load from a file."""
    return deserialize(bytes(exported.serialize())).call


def cells_in(shape, cells, inputs=1):
    """An image, regions and peaks: corners first."""
    random = np.random.default_rng(cells)
    corners = np.array([[0, 0], np.array(shape) - 1])
    peaks = np.concatenate([corners, random.integers(0, shape, (cells - 2, 2))]).astype(np.int32)
    image = random.random(shape if inputs == 1 else (*shape, inputs), np.float32)
    return (
        image,
        centre_regions(np.ones(shape, np.float32), peaks, region="disc", radius=RADIUS, response=0.1),
        peaks,
    )


def placed(windows, peaks, offset, shape):
    """The maps of the whole image from those of windows."""
    side = windows.shape[-1]
    maps = np.zeros((len(peaks), *np.add(shape, side)), np.float32)
    for cell, (row, column) in enumerate(peaks):
        maps[cell, row : row + side, column : column + side] = windows[cell]
    inside = maps[:, -offset : shape[0] - offset, -offset : shape[1] - offset]
    assert inside.sum() == pytest.approx(maps.sum())  # there is nothing outside the image
    return inside


@pytest.mark.parametrize(("align_corners", "inputs"), [(False, 1), (True, 1), (False, 3)])
def test_forward_is_predict_for_any_batch_and_size(align_corners, inputs):
    run = some_run(align_corners=align_corners, inputs=inputs)
    forward = loaded(export_forward(run))
    for batch, shape in zip([1, 3], SHAPES, strict=True):
        channels = () if inputs == 1 else (inputs,)
        images = np.random.default_rng(batch).random((batch, *shape, *channels), np.float32)
        expected = [predict(run.network, run.variables, image) for image in images]
        np.testing.assert_allclose(forward(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("align_corners", "inputs", "settings"),
    [
        (False, 1, []),
        (False, 1, ["contribution.rule=deconvnet", "contribution.start=one", "contribution.start_at=logit"]),
        (True, 1, ["contribution.rule=gradient", "cut.reach=null"]),
        (False, 3, []),
    ],
)
def test_contributions_are_those_of_the_package_for_any_number_of_cells_and_size(align_corners, inputs, settings):
    run = some_run(*settings, align_corners=align_corners, inputs=inputs)
    exported = export_contributions(run)
    offset = -(exported.out_avals[0].shape[-1] // 2)
    contributions = loaded(exported)
    reach = None if run.config.cut.reach is None else 9.0
    for cells, shape in zip([3, 6], SHAPES, strict=True):
        image, regions, peaks = cells_in(shape, cells, inputs)
        found = placed(np.asarray(contributions(image, regions, peaks)), peaks, offset, shape)
        expected = contribution_maps(run, Cells(image, regions, peaks, reach=reach))
        assert expected.max(axis=(1, 2)).min() > 0
        assert np.abs(found - expected).max() <= 1e-5 * expected.max()


def test_the_program_is_the_function_of_the_package(monkeypatch):
    run, calls = some_run(), []

    def noted(*arguments, **options):
        calls.append(options)
        return contribution_windows(*arguments, **options)

    monkeypatch.setattr(export_module, "contribution_windows", noted)
    exported = loaded(export_contributions(run))
    assert calls == [{"reach": 9.0}]
    ours = jax.jit(contribution_windows, static_argnames="reach")
    for cells, shape in zip([3, 6], SHAPES, strict=True):
        drawn = cells_in(shape, cells)
        np.testing.assert_array_equal(exported(*drawn), ours(run, *drawn, reach=9.0))


def test_some_cells_at_a_time_and_regions_too_large():
    run = some_run()
    contributions = loaded(export_contributions(run))
    image, regions, peaks = cells_in((32, 40), 6)
    maps = contributions(image, regions, peaks)
    np.testing.assert_allclose(contributions(image, regions - 4, peaks[4:]), maps[4:], rtol=1e-4, atol=1e-9)
    everywhere, near = np.ones((32, 40), np.int32), np.zeros((32, 40), np.int32)
    near[20 - int(RADIUS) : 21 + int(RADIUS), 20 - int(RADIUS) : 21 + int(RADIUS)] = 1
    peaks = np.array([[20, 20], [3, 5]], np.int32)  # the second has no region
    cut_off, whole = (np.asarray(contributions(image, some, peaks)) for some in (everywhere, near))
    np.testing.assert_array_equal(cut_off, whole)
    assert whole.any(axis=(1, 2)).tolist() == [True, False]


def test_bfloat16_is_inside_alone():
    images = np.random.default_rng(0).random((1, 32, 40), np.float32)
    exact, rough = (
        np.asarray(loaded(export_forward(some_run(f"unet.precision={precision}")))(images))
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.02


def test_the_steps_of_the_help_need_no_more_than_jax(tiny_run, tmp_path, capsys):
    out = tmp_path / "exported"
    assert main(["export", str(tiny_run.folder), "--out", str(out), "--set", "cut.reach=3"]) == 0
    printed = capsys.readouterr()
    assert (len(printed.out.splitlines()), printed.err) == (3, "")
    assert {path.name for path in out.iterdir()} == FILES
    told = json.loads((out / "export.json").read_text())
    assert told["stride"] == 4
    assert told["buckets"] == [256, 384, 512, 768, 1024, 1536, 2048]
    assert told["forward"]["arguments"] == [{"shape": ["batch", "4*rows", "4*columns"], "dtype": "float32"}]
    assert told["contributions"]["result"] == {"shape": ["cells", 19, 19], "dtype": "float32"}
    assert {key: told["contributions"][key] for key in ("side", "offset", "reach", "half")} == {
        **{"side": 19, "offset": -9, "reach": 9.0},
        "half": 7,
    }
    assert told["settings"]["detect"] == tiny_run.model.config.to_dict()["detect"]

    scene = tiny_run.scenes[0]
    image, peaks = scene.image.astype(np.float32), np.round(scene.points).astype(np.int32)
    regions = centre_regions(image, peaks, region="disc", radius=7.7, response=0.1)
    np.savez(tmp_path / "in.npz", image=image, regions=regions, peaks=peaks)
    steps = textwrap.dedent("\n".join(line for line in export.TEXT.splitlines() if line.startswith("    ")))
    program = f"""
import sys
import numpy
given = numpy.load("in.npz")
image, regions, peaks = (given[key] for key in ("image", "regions", "peaks"))
{steps.replace("DIR", "exported")}
assert not {{"flax", "wsis_jax"}} & set(sys.modules)
numpy.savez("out.npz", likelihood=likelihood, value=value, owner=owner)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, env=os.environ, check=True)

    with np.load(tmp_path / "out.npz") as file:
        found = dict(file)
    expected = winner_map_in_chunks(tiny_run.model, Cells(image, regions, peaks, reach=9.0))
    likelihood = predict(tiny_run.model.network, tiny_run.model.variables, image)
    np.testing.assert_allclose(found["likelihood"], likelihood, rtol=0, atol=1e-5)
    tolerance = 1e-5 * expected.value.max()
    np.testing.assert_allclose(found["value"], expected.value, rtol=0, atol=tolerance)
    clear = expected.value - expected.runner_up > tolerance
    assert clear.mean() > 0.05
    np.testing.assert_array_equal(found["owner"][clear], expected.owner[clear])


@pytest.mark.parametrize(
    ("folder", "more", "sentence"),
    [
        ("nowhere", [], "no trained model here"),
        (None, ["--set", "detect.region=response"], "detect.region=response bounds no centre region"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(tiny_run, tmp_path, capsys, folder, more, sentence):
    out = tmp_path / "out"
    folder = tmp_path / folder if folder else tiny_run.folder
    assert main(["export", str(folder), "--out", str(out), *more]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not out.exists()
