"""Devices that share an array, and processes that share a program.

An array is split along its first axis, or every device has a copy. A program of such arrays computes the numbers
of one device: a mean over a batch is that of the whole batch, and XLA adds the communication between devices.
There may be several processes, on as many hosts. All of them run the same program, and only the first one writes
files.
"""

import os
import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from wsis_jax.core.errors import UserError

_AXIS = "batch"
_Tree = TypeVar("_Tree")
_Arguments = ParamSpec("_Arguments")


# Which devices


def local_mesh(count: int) -> Mesh:
    """Returns the most devices of this process among which `count` items can be divided evenly."""
    return _mesh(jax.local_devices()[: _sharing(count, jax.local_device_count())])


def training_mesh(batch: int) -> Mesh:
    """Returns devices among which a batch of patches can be divided evenly, equally many of each process.

    Warns if devices are left out.

    Raises:
        UserError: if the number of processes does not divide the batch.
    """
    processes = jax.process_count()
    if batch % processes:
        raise UserError(
            f"train.batch={batch} cannot be shared evenly by {processes} processes; "
            f"make it a multiple of {processes}"
        )
    of_each = [jax.local_devices(process_index=index) for index in range(processes)]
    each = _sharing(batch // processes, min(map(len, of_each)))
    used, there = processes * each, jax.device_count()
    if used < there:
        warnings.warn(
            f"only {used} of {there} devices train, since train.batch={batch} is not a multiple of {there}",
            stacklevel=2,
        )
    return _mesh([device for devices in of_each for device in devices[:each]])


def shared_by_all(count: int) -> int:
    """Returns a count rounded up to a multiple of the number of devices of this process."""
    return -(-count // jax.local_device_count()) * jax.local_device_count()


def _sharing(count: int, most: int) -> int:
    """Returns the greatest divisor of `count` that is not above `most`."""
    return max(n for n in range(1, most + 1) if count % n == 0)


def _mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.array(devices), (_AXIS,))


# How arrays are placed


def in_parts(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that is split along its first axis."""
    return NamedSharding(mesh, PartitionSpec(_AXIS))


def in_copies(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array of which every device has a copy."""
    return NamedSharding(mesh, PartitionSpec())


def split(tree: _Tree, mesh: Mesh) -> _Tree:
    """Returns arrays split along their first axes, whose lengths the number of devices divides."""
    return jax.device_put(tree, in_parts(mesh))


def copy(tree: _Tree, mesh: Mesh) -> _Tree:
    """Returns arrays of which every device of this process's mesh holds a copy."""
    return jax.device_put(tree, in_copies(mesh))


def copy_everywhere(tree: _Tree, mesh: Mesh) -> _Tree:
    """Returns arrays of which all devices of all processes hold a copy; every process passes the same values."""
    place = in_copies(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, np.asarray(x), x.shape), tree)


def one_copy(tree: _Tree) -> _Tree:
    """Returns the copies on the first device of this process, of arrays that every device has a copy of."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


# Several processes


def join_processes() -> None:
    """Connects this process with others to one JAX program, if the environment says that there are others.

    It does if Slurm started several tasks (`srun`), or by JAX_COORDINATOR_ADDRESS: the host and a free port of the
    first process. JAX_NUM_PROCESSES and JAX_PROCESS_ID then say how many there are and which one this is, from 0,
    where no cluster that JAX knows does. To be called before JAX computes anything.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 or "JAX_COORDINATOR_ADDRESS" in os.environ:
        count, index = os.environ.get("JAX_NUM_PROCESSES"), os.environ.get("JAX_PROCESS_ID")
        jax.distributed.initialize(
            num_processes=None if count is None else int(count), process_id=None if index is None else int(index)
        )
        # All processes are at the same place now. The first message makes the connections between CPUs, and it
        # waits for no process longer than half a minute.
        wait_for_all("joined")


def is_first() -> bool:
    """Returns whether this is the process that shows progress and writes files."""
    return jax.process_index() == 0


def by_first(write: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Makes a function run in the first process only, since it writes files."""

    @wraps(write)
    def write_if_first(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if is_first():
            write(*args, **kwargs)

    return write_if_first


def as_first(numbers: _Tree) -> _Tree:
    """Returns the numbers of the first process, so that all processes take the same decision and none waits."""
    if jax.process_count() == 1:
        return numbers
    return jax.tree.map(lambda x: x.item(), multihost_utils.broadcast_one_to_all(numbers))


def wait_for_all(what: str) -> None:
    """Waits until all processes have called this with the same name."""
    multihost_utils.sync_global_devices(what)
