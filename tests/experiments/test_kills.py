"""Nothing is lost when a process is killed; `experiments/kills.py` kills more of them."""

import os
import subprocess
import sys


def test_what_is_killed_at_random_moments_ends_as_what_is_not():
    process = subprocess.run(
        [sys.executable, "-m", "experiments.kills", "--kills", "2"],
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    last = [line for line in process.stdout.splitlines() if "while it wrote" in line]
    assert [line.partition(":")[0] for line in last] == ["training", "batch"]
    assert all("of 2 kills" in line and "; 0 of " in line for line in last)
