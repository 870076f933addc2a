"""Which state of the repository a number is of."""

import subprocess
from pathlib import Path


def commit() -> str:
    """Returns the commit that is measured, marked where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
