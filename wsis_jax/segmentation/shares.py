"""What each worker of a local cluster has of the machine: cores, and a GPU where there are some."""

import os
from contextlib import suppress
from pathlib import Path

import jax
from distributed import Worker, WorkerPlugin


class Shares(WorkerPlugin):
    """Gives each of the workers 0, 1, … of a local cluster its share, before it does anything.

    N workers with all cores would fight over them. JAX is started first, since the last bit of its numbers depends
    on the threads that it makes, one for each core that it sees: so a worker computes what a process with the
    whole machine does.
    """

    name = "wsis-shares"

    def __init__(self, count: int) -> None:
        """Takes the number of workers."""
        self._count = count

    def setup(self, worker: Worker) -> None:
        """Gives a worker its share."""
        number = int(worker.name)
        if gpus := gpus_of_machine():
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        if hasattr(os, "sched_setaffinity"):
            jax.devices()
            cores = share(sorted(os.sched_getaffinity(0)), number % self._count, self._count)
            # Each thread has its own cores, and hands them on to those that it starts.
            for thread in Path("/proc/self/task").iterdir():
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.sched_setaffinity(int(thread.name), cores)


def share(cores: list[int], number: int, count: int) -> list[int]:
    """Returns the cores of one of so many workers; neighbours, or where there are too few, one of them."""
    if count >= len(cores):
        return [cores[number % len(cores)]]
    return cores[number * len(cores) // count : (number + 1) * len(cores) // count]


def gpus_of_machine() -> list[str]:
    """Returns the names that CUDA_VISIBLE_DEVICES has for the GPUs of this machine, if JAX may use them."""
    if "cpu" in os.environ.get("JAX_PLATFORMS", ""):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
