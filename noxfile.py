"""Checks of the package that take too long for every change; `.ci/run NAME` runs one, as does `nox -s NAME`.

* build: wheel and sdist, the files in them, and CITATION.cff;
* wheel: the wheel in a fresh environment, far from the checkout, with and without PyMaxflow;
* oldest: the tests with the oldest versions that pyproject.toml allows;
* newest: the tests with the newest ones;
* pin: writes constraints.txt anew.
"""

import subprocess
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["build", "wheel"]

_HERE = Path(__file__).parent


def _wheel(session: nox.Session) -> Path:
    """Returns a wheel that was built from the sdist, which was built from here."""
    session.install("build[uv]")
    folder = Path(session.create_tmp()) / "dist"
    for old in folder.glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--installer=uv", f"--outdir={folder}", str(_HERE))
    (wheel,) = folder.glob("*.whl")
    return wheel


@nox.session
def build(session: nox.Session) -> None:
    """Builds wheel and sdist, and checks what is in them and in CITATION.cff."""
    wheel = _wheel(session)
    session.install("twine", "check-wheel-contents", "cffconvert")
    session.run("twine", "check", "--strict", *map(str, wheel.parent.iterdir()))
    session.run("check-wheel-contents", "--ignore=W002", str(wheel))  # of equal files: empty __init__.py
    session.run("cffconvert", "--validate", f"--infile={_HERE / 'CITATION.cff'}")


@nox.session
def wheel(session: nox.Session) -> None:
    """Installs the wheel in a fresh environment and runs the demo from it, with each solver of the cuts."""
    built = _wheel(session)
    session.run("uv", "pip", "uninstall", "build", external=True)
    session.install(str(built))
    session.chdir(session.create_tmp())
    session.env.update(PYTHONPATH="", JAX_PLATFORMS="cpu")
    where = session.run("python", "-c", "import wsis_jax; print(wsis_jax.__file__)", silent=True)
    if not str(where).startswith(session.virtualenv.location):
        session.error(f"wsis_jax comes from {where}, not from the wheel")
    session.run("wsis", "demo", "--model", "phase-contrast", "--out", "demo")
    session.run("uv", "pip", "uninstall", "PyMaxflow", external=True)
    session.run("wsis", "demo", "--model", "phase-contrast", "--out", "demo-scipy")
    scores = [Path(folder, "scores.json").read_text() for folder in ("demo", "demo-scipy")]
    if scores[0] != scores[1]:
        session.error(f"the solvers score differently: {scores[0]} and {scores[1]}")


@nox.session
def oldest(session: nox.Session) -> None:
    """Tests with the oldest versions that pyproject.toml allows of what it names."""
    session.install("--resolution=lowest-direct", "--editable", f"{_HERE}[test]")
    _test(session)


@nox.session
def newest(session: nox.Session) -> None:
    """Tests with the newest versions that pyproject.toml allows."""
    session.install("--upgrade", "--editable", f"{_HERE}[test]")
    _test(session)


@nox.session(venv_backend="none")
def pin(session: nox.Session) -> None:
    """Writes constraints.txt: versions of everything that users and contributors install, extras included."""
    extras = [f"--extra={name}" for name in ("dev", "bioio")]
    header = "--custom-compile-command=nox -s pin"
    python = "--python-version=3.11.1"  # since ome-zarr wants one above 3.11
    session.run("uv", "pip", "compile", "pyproject.toml", *extras, "--universal", python, "--no-annotate", header,
                "--upgrade", "--quiet", "--output-file=constraints.txt")  # fmt: skip


def _test(session: nox.Session) -> None:
    """Runs the tests, or those that are named after `--`, and prints the versions that they ran with."""
    session.install("pytest-xdist")
    versions = subprocess.run(["uv", "pip", "freeze", "--python", session.virtualenv.location], text=True,
                              capture_output=True, check=True)  # fmt: skip
    session.log(versions.stdout)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    options = session.posargs or ["--numprocesses=auto", "--dist=loadfile"]
    session.run("pytest", *options, env=one_thread)
