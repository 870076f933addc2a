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
from wsis_jax.core.programs import Compilations, kept_arrays, kept_program, use_compilation_cache


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
    # What `_prepared` gave, the model ready for use, was kept too, so that it need not run.
    assert (again, loaded) == (len(names), compiled - len(names) - 1)
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


@pytest.fixture
def traced(cache_settings, tmp_path):
    """A function that notes each time it is traced, and the folder that compiled programs are kept in."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    times = []

    def scaled(tree, offset, *, fixed):
        times.append(fixed)
        return {"sum": tree["a"] * fixed + offset, "same": tree["a"]}

    return scaled, times, tmp_path / "traced"


def scaled_by(program, values, fixed=2.0):
    return program({"a": jnp.array(values)}, 1.0, fixed=fixed)["sum"].tolist()


def test_a_program_that_is_kept_is_not_traced_again(traced):
    function, times, folder = traced
    for _ in range(2):  # a function that is made anew stands for a process
        program = kept_program(function)
        assert scaled_by(program, [1.0, 3.0]) == [3.0, 7.0]
        assert scaled_by(program, [2.0, 0.0]) == [5.0, 1.0]
    assert times == [2.0]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("change", ["fixed", "shape", "type", "precision", "code"])
def test_what_a_program_depends_on_has_it_traced_anew(traced, change, monkeypatch):
    function, times, folder = traced
    scaled_by(kept_program(function), [1.0])
    if change == "code":
        monkeypatch.setattr("wsis_jax.core.programs._circumstances", lambda: ("another",))
    with jax.default_matmul_precision("float32" if change == "precision" else None):
        values = {"shape": [1.0, 2.0], "type": [1]}.get(change, [1.0])
        scaled_by(kept_program(function), values, fixed=3.0 if change == "fixed" else 2.0)
    assert len(times) == len(list(folder.iterdir())) == 2


def test_a_file_that_is_not_whole_is_made_anew(traced):
    function, times, folder = traced
    scaled_by(kept_program(function), [1.0])
    file = next(folder.iterdir())
    whole = file.read_bytes()
    for part in (whole[:-1], whole[:10], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(part)
        assert scaled_by(kept_program(function), [1.0]) == [3.0]
        assert len(file.read_bytes()) > 100
    assert len(times) == 5


def test_a_program_runs_where_none_can_be_kept(traced, tmp_path):
    function, times, folder = traced
    folder.write_text("no folder")
    assert scaled_by(kept_program(function), [1.0]) == [3.0]
    jax.config.update("jax_compilation_cache_dir", None)
    assert scaled_by(kept_program(function), [1.0]) == [3.0]
    assert len(times) == 2


@pytest.fixture
def made(cache_settings, tmp_path):
    """A function that makes arrays and notes each time it does, and the folder that such are kept in."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    times = []

    def make():
        times.append(len(times))
        return {"a": {"b": jnp.arange(3.0)}, "c": jnp.array([0.1, 2.0], jnp.bfloat16)}

    return make, times, tmp_path / "arrays"


def check_made(arrays):
    assert isinstance(arrays["a"]["b"], jax.Array)
    assert (arrays["a"]["b"].tolist(), arrays["a"]["b"].dtype) == ([0.0, 1.0, 2.0], jnp.float32)
    assert (arrays["c"].tolist(), arrays["c"].dtype) == ([0.10009765625, 2.0], jnp.bfloat16)


def test_arrays_that_are_kept_are_not_made_again(made, monkeypatch):
    make, times, folder = made
    for _ in range(2):
        check_made(kept_arrays(make, key="one"))
    assert len(times) == 1
    kept_arrays(make, key="another")
    monkeypatch.setattr("wsis_jax.core.programs._circumstances", lambda: ("another",))
    kept_arrays(make, key="one")
    assert len(times) == len(list(folder.iterdir())) == 3


def test_arrays_of_a_damaged_file_or_without_one_are_made(made):
    make, times, folder = made
    kept_arrays(make, key="one")
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    check_made(kept_arrays(make, key="one"))
    file.unlink()
    folder.rmdir()
    folder.write_text("no folder")
    check_made(kept_arrays(make, key="one"))
    jax.config.update("jax_compilation_cache_dir", None)
    check_made(kept_arrays(make, key="one"))
    assert len(times) == 4


def test_of_arrays_the_last_used_are_kept_and_no_large_ones(made, monkeypatch):
    make, times, folder = made
    for key in "abcdefgh":
        kept_arrays(make, key=key)
    kept_arrays(make, key="a")
    kept_arrays(make, key="i")
    assert len(list(folder.iterdir())) == 8
    kept_arrays(make, key="a")
    assert len(times) == 9
    kept_arrays(make, key="b")
    assert len(times) == 10
    monkeypatch.setattr("wsis_jax.core.programs._LARGE", 10)
    kept_arrays(make, key="large")
    assert len(times) == 11
    kept_arrays(make, key="large")
    assert len(times) == 12
