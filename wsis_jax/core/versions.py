"""What may change numbers: versions of this package and its libraries, and the device."""

import platform
from importlib.metadata import version

import jax


def versions() -> dict[str, str]:
    """Returns what may change numbers: versions of this package and its libraries, and the device, by name."""
    packages = {"wsis_jax": "wsis-jax"} | {name: name for name in ("jax", "jaxlib", "flax", "numpy")}
    devices = jax.devices()
    return {name: version(package) for name, package in packages.items()} | {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": f"{len(devices)} × {devices[0].device_kind}",
    }
