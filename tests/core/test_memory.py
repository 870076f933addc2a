"""Out of memory: fewer cells at a time are tried, and what cannot be done is told in a sentence."""

import importlib
import platform
import subprocess
import sys

import jax
import numpy as np
import pytest

from wsis_jax.cli import main
from wsis_jax.core import limits
from wsis_jax.core.errors import OutOfMemory
from wsis_jax.core.limits import explaining_out_of_memory
from wsis_jax.network import chunks
from wsis_jax.network.chunks import Cells, contribution_maps, winner_map_in_chunks
from wsis_jax.segmentation import batch
from wsis_jax.segmentation.batch import segment_files

FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 70368744177664 bytes."


# A program whose intermediate result takes 64 MiB; it prints how many pages the system cleared for a typical call.
CLEARING = """
import resource, statistics, sys
from wsis_jax.core import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
assert "jax" not in sys.modules
import jax, jax.numpy as jnp

def cleared():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def call():
    before = cleared()
    jax.block_until_ready(step(a, b))
    return cleared() - before

a, b = jnp.ones((4096, 64)), jnp.ones((64, 4096))
step = jax.jit(lambda a, b: (a @ b) @ a)
print(statistics.median([call() for _ in range(30)][10:]))
"""


class Late:
    """Maps of a chunk that turn out not to fit when they are waited for."""

    def block_until_ready(self):
        raise jax.errors.JaxRuntimeError(FULL)


def with_room_for(cells: int, monkeypatch, *, late: bool) -> list[int]:
    """Lets chunks of more cells than these run out of memory; returns the sizes that are tried."""
    tried = []

    def limit(back, size):
        def limited(*arguments, **options):
            tried.append(size(arguments))
            if tried[-1] <= cells:
                return back(*arguments, **options)
            if late:
                return Late()
            raise jax.errors.JaxRuntimeError(FULL)

        return limited

    monkeypatch.setattr(chunks, "windows_back", limit(chunks.windows_back, lambda given: len(given[2])))
    monkeypatch.setattr(chunks, "back_many", limit(chunks.back_many, lambda given: len(given[2])))
    return tried


def propagated(tiny_run, method: str, detection) -> np.ndarray:
    settings = [f"contribution.method={method}", "contribution.chunk=4"]
    model = tiny_run.model.using(tiny_run.model.config.override(settings))
    return contribution_maps(model, Cells(detection.image, detection.regions, detection.peaks))


@pytest.fixture(scope="module")
def detection(tiny_run):
    from wsis_jax.segmentation.pipeline import detect

    found = detect(tiny_run.model, tiny_run.scenes[0].image)
    assert len(found.peaks) > 2
    return found


@pytest.mark.parametrize(("method", "late"), [("window", True), ("vmap", False)])
def test_fewer_cells_at_a_time_are_tried(tiny_run, detection, monkeypatch, method, late):
    whole = propagated(tiny_run, method, detection)
    assert whole.any(axis=(1, 2)).all()
    tried = with_room_for(1, monkeypatch, late=late)
    with pytest.warns(UserWarning, match=r"too small for . cells at a time") as heard:
        fewer = propagated(tiny_run, method, detection)
    assert [str(one.message).rpartition("set ")[2] for one in heard] == [
        "contribution.chunk=2 to begin with that",
        "contribution.chunk=1 to begin with that",
    ]
    assert tried[0] == 4
    assert tried.count(1) >= len(detection.peaks)
    np.testing.assert_allclose(fewer, whole, rtol=1e-4, atol=1e-6)


def test_fewer_cells_at_a_time_are_tried_for_a_winner_map(tiny_run, detection, monkeypatch):
    model = tiny_run.model.using(tiny_run.model.config.override(["contribution.chunk=4"]))
    cells = Cells(detection.image, detection.regions, detection.peaks)
    whole, program, tried = winner_map_in_chunks(model, cells), chunks.compiled_winner(), []

    def limited(*given, chunk, **options):
        tried.append(chunk)
        if chunk > 1:
            raise jax.errors.JaxRuntimeError(FULL)
        return program(*given, chunk=chunk, **options)

    monkeypatch.setattr(chunks, "compiled_winner", lambda: limited)
    with pytest.warns(UserWarning, match=r"too small for . cells at a time"):
        fewer = winner_map_in_chunks(model, cells)
    assert tried == [4, 2, 1]
    np.testing.assert_array_equal(fewer.owner, whole.owner)


def test_no_room_for_one_cell_is_told(tiny_run, detection, monkeypatch):
    with_room_for(0, monkeypatch, late=False)
    monkeypatch.setattr(limits, "warn_about_image", lambda *_, **__: None)
    with pytest.raises(OutOfMemory, match="a single cell does not fit into memory; set"):
        propagated(tiny_run, "window", detection)


def test_other_errors_of_the_device_are_not_taken_for_it(tiny_run, detection, monkeypatch):
    def broken():
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault")

    monkeypatch.setattr(chunks, "compiled_back", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        propagated(tiny_run, "window", detection)


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 9 GiB"), jax.errors.JaxRuntimeError(FULL)])
def test_the_innermost_sentence_is_told(error):
    def fails(inner):
        with explaining_out_of_memory("outer"), explaining_out_of_memory(inner):
            raise error

    with pytest.raises(OutOfMemory, match=r"^inner$"):
        fails("inner")


def test_an_image_without_room_does_not_stop_the_others(tiny_run, draw_small, write_scene, tmp_path, monkeypatch):
    outline, calls = batch.outline, []

    def cramped(*arguments, **options):
        calls.append(None)
        if len(calls) == 1:
            raise MemoryError("Unable to allocate 9 GiB")
        return outline(*arguments, **options)

    monkeypatch.setattr(batch, "outline", cramped)
    for seed, name in enumerate("ab"):
        write_scene(tmp_path, name, draw_small(seed))
    files = sorted((tmp_path / "image").iterdir())
    outcomes = segment_files(tiny_run.model, files, tmp_path / "out")
    assert outcomes[0].error == (
        "a: there is not enough memory (Unable to allocate 9 GiB); close other programs, give smaller images, "
        "or segment in tiles (--tiles)"
    )
    assert outcomes[1].error is None


def test_a_command_without_room_says_so(monkeypatch, capsys):
    def cramped(*_, **__):
        raise MemoryError

    monkeypatch.setattr(importlib.import_module("wsis_jax.segmentation"), "evaluate", cramped)
    assert main(["evaluate", "a", "b"]) == 2
    assert capsys.readouterr().err.startswith("wsis: error: there is not enough memory; close")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such settings")
def test_that_freed_memory_which_is_kept_needs_no_clearing_in_the_next_call():
    def cleared(how: str) -> float:
        done = subprocess.run([sys.executable, "-c", CLEARING, how], capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert cleared("keep") < 10 < cleared("give back")  # even pages of 2 MiB are 32 for each call
