"""Which of the packages that the metadata of wsis_jax asks for are installed, by extra."""

from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

_PROJECT = "wsis-jax"
_OF_CONTRIBUTORS = ("test", "dev")


def lacking() -> list[str]:
    """Returns what wsis_jax itself needs and has not; see `lacking_for`."""
    return [line for one in _requirements(_PROJECT, "") for line in lacking_for(one)]


def extras() -> dict[str, list[str]]:
    """Returns, for each extra that users may want, what it needs and has not; nothing where it is installed."""
    names = metadata(_PROJECT).get_all("Provides-Extra") or []
    wanted = [name for name in names if name not in _OF_CONTRIBUTORS]
    return {name: lacking_for(Requirement(f"{_PROJECT}[{name}]")) for name in wanted}


def command(extra: str | None = None) -> str:
    """Returns the command that installs an extra, or that repairs the package itself."""
    return f"pip install '{_PROJECT}[{extra}]'" if extra else f"pip install --upgrade {_PROJECT}"


def lacking_for(requirement: Requirement) -> list[str]:
    """Returns a line for each package that a requirement, its extras included, needs in vain.

    That is one that is not there ("zarr>=3: not installed") or of another version ("jax<0.13: 0.14 installed").
    """
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        have = version(requirement.name)
    except PackageNotFoundError:
        return [f"{wanted}: not installed"]
    if not requirement.specifier.contains(have, prereleases=True):
        return [f"{wanted}: {have} installed"]
    needed = [one for extra in sorted(requirement.extras) for one in _requirements(requirement.name, extra)]
    return [line for one in needed for line in lacking_for(one)]


def _requirements(name: str, extra: str) -> list[Requirement]:
    """Returns what an installed package needs here: for an extra alone, or for "" without one."""
    found = []
    for one in map(Requirement, requires(name) or []):
        always = one.marker is None or one.marker.evaluate({"extra": ""})
        if always if not extra else not always and one.marker and one.marker.evaluate({"extra": extra}):
            found.append(one)
    return found
