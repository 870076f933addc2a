"""Compiled programs: few for a folder of many sizes, and none in the next process."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import tifffile

from wsis_jax.core import STAGES
from wsis_jax.core.devices import Compilations, use_compilation_cache


def programs(stderr):
    """Returns the counts of a summary: compiled, loaded, and compiled by name."""
    made, found = re.search(r"(\d+) programs compiled, (\d+) loaded", stderr).groups()
    return int(made), int(found), dict(re.findall(r"^  (\w+): (\d+)$", stderr, re.MULTILINE))


def stages(stderr):
    """Returns the seconds of the profile of a command: in all, and of each stage."""
    whole = float(re.search(r"^([0-9.]+) s in all", stderr, re.MULTILINE)[1])
    return whole, {
        name: float(s) for name, s in re.findall(r"^  (\S.*?) +([0-9.]+) s +\S+%$", stderr, re.MULTILINE)
    }


SIZES = [(64, 64), (66, 70), (90, 64), (100, 120), (96, 97), (64, 121), (40, 44), (80, 80), (120, 64), (50, 99)]


def test_a_folder_of_many_sizes_compiles_few_programs_and_the_next_process_none(tmp_path, tiny_run, draw_small):
    (tmp_path / "images").mkdir()
    for i in range(20):
        image = draw_small(i, cells=4 + i % 10, shape=SIZES[i % 10]).image
        tifffile.imwrite(tmp_path / "images" / f"{i}.tif", image)
    command = [sys.executable, "-m", "wsis_jax", "segment", tiny_run.folder, tmp_path / "images", "--verbose"]
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as in this process: as many programs, made sooner
        "JAX_PLATFORMS": "cpu",
    }
    counts, labels, shares = [], [], []
    for out in ("first", "second"):
        done = subprocess.run(
            [*command, "--out", tmp_path / out], capture_output=True, text=True, check=True, env=environment
        )
        counts.append(programs(done.stderr))
        labels.append([(tmp_path / out / f"{i}_labels.tif").read_bytes() for i in range(20)])
        shares.append(stages(done.stderr))
    compiled, _, by_name = counts[0]
    assert by_name["image_to_winner_map"] == "2"
    assert compiled <= 4
    again, loaded, names = counts[1]
    assert set(names) <= {"options_are_known"}  # an old jaxlib refuses the options anew in each process
    assert (again, loaded) == (len(names), compiled - len(names))
    assert labels[0] == labels[1]
    for whole, seconds in shares:
        assert set(STAGES) <= set(seconds)
        assert sum(seconds.values()) == pytest.approx(whole, abs=0.1)  # they are rounded
        assert min(seconds[name] for name in STAGES) > 0


def test_programs_are_counted_by_name():
    compilations = Compilations()

    @jax.jit
    def a_program_of_this_test(x):
        return x + 1

    for shape in ((2,), (3,), (3,)):
        a_program_of_this_test(jnp.zeros(shape))
    total = compilations.compiled + compilations.loaded
    assert total["a_program_of_this_test"] == 2
    assert compilations.seconds > 0
    assert f"{compilations.compiled.total()} programs compiled" in compilations.summary()


@pytest.fixture
def cache_settings():
    """Puts the settings of the cache back afterwards."""
    names = [f"jax_persistent_cache_min_{name}" for name in ("compile_time_secs", "entry_size_bytes")]
    before = {name: getattr(jax.config, name) for name in ("jax_compilation_cache_dir", *names)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("cache_settings")
def test_the_users_folder_stays(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert use_compilation_cache() == tmp_path / "mine"


@pytest.mark.usefixtures("cache_settings")
@pytest.mark.skipif(sys.platform != "linux", reason="the place differs between systems")
def test_the_default_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    assert use_compilation_cache() == tmp_path / "wsis_jax"
