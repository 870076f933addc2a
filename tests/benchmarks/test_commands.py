"""Every benchmark that the documents name runs to its end, at toy size; the figures are not looked at."""

import importlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from distributed import Client, LocalCluster

from benchmarks import clusters

# A width of 4 is the least at which a signal comes through a network that learned nothing. Width, sides and cells
# are those of `accelerator --small`, so that these benchmarks compile the same programs once.
_NETWORK = "--sides 64 --widths 4 --cells 4 --rounds 1"
TOYS = {
    "contributions, ours": f"contributions {_NETWORK} --methods window window-all vmap loop --loop-cells 2",
    "contributions, PyTorch": f"contributions {_NETWORK} --methods window torch captum",
    "contributions, apart": f"contributions {_NETWORK} --methods window --apart --json lines.jsonl",
    "contributions, plot": "contributions --methods --json lines.jsonl --plot picture.png",
    "training step": "training_step --width 2 --batch 2 --patch 32 --rounds 1",
    "devices": "devices --simulate 1 --width 4 --batch 2 --patch 32 --cells 4 --side 64 --rounds 1",
    "cuts": "cuts --side 64 80 --cells 6 --whole-cells 2 --growth 48 64 --growth-cells 3 --rounds 1",
    "solvers": "solvers --side 48 40 --cells 4 --rounds 1",
    "cuts by turns": "cuts_by_turns --before HEAD --side 64 80 --cells 6 --turns 1 --repeats 1",
    "locate by turns": "locate_by_turns --before HEAD --side 48 64 --cells 4 --turns 1 --repeats 1 --model RUN",
    "segment by turns": "segment_by_turns --before HEAD --side 48 64 --cells 4 --images 2 --turns 0 --model RUN",
    "batch": "batch --images 3 --side 64 --model RUN",
    "clusters": "clusters --images 2 --image-side 48 --rounds 1 --model RUN",
    "clusters, large": "clusters --side 96 --scale 1 --tile 64 --workers 2 --model RUN",
    "tiles": "tiles --compare 96 --side 96 --tile 64 --model RUN",
    "baselines": "baselines --side 96 120 --cells 8",
    "accelerator": "accelerator --small --rounds 1 --minutes 60 --model RUN --out numbers.json",
    "scale": "scale --fields 1e3 --side 64 80 --cells 5 --widths 4 --flops 1e9",
    "scale, rates": "scale --rates --side 64 80 --cells 5 --rounds 1 --model RUN",
    "scale, measured": "scale --measure 2 --image-side 48 --rounds 1 --model RUN",
}
_NEEDS = {
    "contributions, PyTorch": ("torch", "captum"),
    "training step": ("torch",),
    "contributions, plot": ("matplotlib",),
}
_LINE = {"method": "window", "side": [32, 32], "width": 4, "cells": 3}
_LINE |= {"seconds_per_cell": 1, "end_to_end_seconds": 3}


@contextmanager
def connecting(where):
    """As `wsis_jax.segmentation.connecting`, but the workers are threads of the test."""
    options = {"threads_per_worker": 1, "processes": False, "dashboard_address": "localhost:0"}
    count = int(where.removeprefix("local:"))
    with LocalCluster(n_workers=count, **options) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def one_process(monkeypatch):
    """Runs in the process of the test what a benchmark starts in another one."""
    run_apart = subprocess.run

    def run(command, **options):
        if command[:2] != [sys.executable, "-m"]:
            return run_apart(command, **options)
        module, *words = command[2:]
        code = importlib.import_module("wsis_jax.cli" if module == "wsis_jax" else module).main(words)
        return subprocess.CompletedProcess(command, code or 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # which `devices` changes
    # What git takes out of the history runs in other processes all the same; it compiles sooner, as in this one.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


@pytest.mark.parametrize("name", TOYS)
def test_a_benchmark_runs_to_its_end(name, one_process, tiny_run, tmp_path, monkeypatch, capsys):
    for package in _NEEDS.get(name, ()):
        pytest.importorskip(package)
    script, *words = TOYS[name].replace("RUN", str(tiny_run.folder)).split()
    benchmark = importlib.import_module(f"benchmarks.{script}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clusters, "connecting", connecting)
    if "--plot" in words:
        (tmp_path / "lines.jsonl").write_text(json.dumps(_LINE))
    assert not benchmark.main(words)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    if "--out" in words:
        lines.append(json.loads((tmp_path / words[words.index("--out") + 1]).read_text()))
    if "--plot" in words:
        assert (tmp_path / "picture.png").stat().st_size > 0
    else:
        assert any("commit" in line for line in lines)
    for line in lines:  # what is the same by two ways
        assert line.get("identical", True)
        assert line.get("files_equal", True)
        assert line.get("points_equal", True)
        assert line.get("pixels_that_differ", 0) == 0
        assert [row for row in line.get("rows", ()) if row["note"].startswith("failed")] == []
