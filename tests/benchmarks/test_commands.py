"""Every benchmark that the documents name runs to its end, at toy size; the figures are not looked at."""

import importlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from distributed import Client, LocalCluster

# A width of 4 is the least at which a signal comes through a network that learned nothing.
_NETWORK = "--sides 32 --widths 4 --cells 3 --rounds 1"
TOYS = {
    "contributions, ours": f"contributions {_NETWORK} --methods window window-all vmap loop",
    "contributions, PyTorch": f"contributions {_NETWORK} --methods window torch captum",
    "contributions, apart": f"contributions {_NETWORK} --methods window --apart --json lines.jsonl",
    "contributions, plot": "contributions --methods --json lines.jsonl --plot picture.png",
    "training step": "training_step --width 2 --batch 2 --patch 32 --rounds 1",
    "devices": "devices --simulate 1 --width 2 --batch 2 --patch 32 --cells 2 --side 32 --rounds 1",
    "devices, counted": "devices --width 2 --batch 2 --patch 32 --cells 2 --side 32 --rounds 0",
    "cuts": "cuts --side 64 80 --cells 6 --whole-cells 2 --growth 48 64 --growth-cells 3 --rounds 1",
    "batch": "batch --images 3 --side 64 --model RUN",
    "clusters": "clusters --images 2 --image-side 48 --rounds 1 --model RUN",
    "clusters, large": "clusters --side 96 --scale 1 --tile 64 --workers 2 --model RUN",
    "tiles": "tiles --compare 96 --side 96 --tile 64 --model RUN",
    "baselines": "baselines --side 96 120 --cells 8",
}
_NEEDS = {
    "contributions, PyTorch": ("torch", "captum"),
    "training step": ("torch",),
    "contributions, plot": ("matplotlib",),
}
_LINE = {"method": "window", "side": [32, 32], "width": 4, "cells": 3}
_LINE |= {"seconds_per_cell": 1, "end_to_end_seconds": 3}


@pytest.fixture
def one_process(monkeypatch, tmp_path):
    """Runs what a benchmark starts as another process, or as a worker of Dask, in the process of the test."""

    run_apart = subprocess.run

    def run(command, **options):
        if command[:2] != [sys.executable, "-m"]:
            return run_apart(command, **options)
        module, *words = command[2:]
        return subprocess.CompletedProcess(command, importlib.import_module(module).main(words) or 0)

    @contextmanager
    def connecting(where):
        count = int(where.removeprefix("local:"))
        with (
            LocalCluster(
                n_workers=count, threads_per_worker=1, processes=False, dashboard_address="localhost:0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # which `devices` sets
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("benchmarks.clusters.connecting", connecting)


@pytest.mark.parametrize("name", TOYS)
def test_a_benchmark_runs_to_its_end(name, one_process, tiny_run, tmp_path, capsys):
    for package in _NEEDS.get(name, ()):
        pytest.importorskip(package)
    if "--plot" in TOYS[name]:
        (tmp_path / "lines.jsonl").write_text(json.dumps(_LINE))
    script, *words = TOYS[name].replace("RUN", str(tiny_run.folder)).split()
    assert not importlib.import_module(f"benchmarks.{script}").main(words)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    if "--plot" in TOYS[name]:
        assert (tmp_path / "picture.png").stat().st_size > 0
    else:
        assert lines
        assert all(line["commit"] for line in lines if "pixels" not in line or "side" in line)
