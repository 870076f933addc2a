"""A browser to open pages with, where there is one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here to open pages with; install chromium")


def open_page(file: Path, *options: str, address: str = "", scratch: Path) -> subprocess.CompletedProcess:
    """Opens a page without a window and without a network, and fails where it complains.

    Args:
        file: the page.
        options: of Chromium, such as --dump-dom.
        address: what follows the file in the address, as `#layer=labels`.
        scratch: an empty folder for the browser.
    """
    assert PROGRAM is not None
    command = [PROGRAM, "--headless=new", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    # A proxy that nobody listens at: whatever the page would fetch is an error in the log.
    command += ["--proxy-server=127.0.0.1:9", "--no-first-run", f"--user-data-dir={scratch / 'profile'}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # of containers, in which its own does not work
    done = subprocess.run(
        [*command, *options, file.resolve().as_uri() + address],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    return done


def shown(file: Path, *, address: str = "", scratch: Path) -> str:
    """Returns the HTML of a page as it is after its script has run."""
    return open_page(file, "--dump-dom", address=address, scratch=scratch).stdout
