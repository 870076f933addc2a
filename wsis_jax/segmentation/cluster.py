"""Clusters: a process connects to a Dask cluster, sends tasks to its workers, and waits for their results.

A task is a call of a function of this package. Each worker loads the model once, from the folder that the leading
process loaded it from: both must see the same files. A task whose worker dies is done again by another.
"""

import logging
import os
import platform
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wsis_jax.core import MissingFile, UserError, use_compilation_cache
from wsis_jax.network import Model, best_weights, load_model, model_folder
from wsis_jax.segmentation.manifest import key_of

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, WorkerPlugin

PATIENCE = 300.0
"""Seconds that a cluster may be without any worker."""

_GLANCE = 2.0  # seconds after which it is asked whether there are workers still
_CONNECTING = "30s"
# Deaths of a worker that a task may be found at. Dask also counts tasks that only waited there.
_DEATHS = 10

# One task at a time, however many threads a worker has: they share the current folder and the warnings.
_ALONE = threading.Lock()


class WorkersDied(UserError):
    """All workers that tried a task died."""


class _Stored(NamedTuple):
    """A model as workers are told of it: its folder, or its name, and the digest of its files."""

    folder: str
    digest: str


@dataclass(frozen=True)
class _Sealed:
    """Arguments of tasks, in which Dask does not look for other tasks."""

    same: dict[str, Any]


class Workers:
    """The workers of a Dask cluster and the model that they segment with.

    Attributes:
        model: the model, as `load_model` reads it here.
    """

    def __init__(self, client: "Client", model: str | Path) -> None:
        """Takes a client of the cluster, and a run folder that all its workers see, or a packaged model's name.

        Errors are those of `load_model`.
        """
        folder = model_folder(model)
        self.model, self._client = load_model(model), client
        self._stored = _Stored(str(model if folder != Path(model) else folder.resolve()), _digest(folder))

    def submit(self, function: Callable[..., Any], **same: Any) -> "Future":
        """Has a worker call a function of a module; where an argument is our model, it takes the worker's own."""
        return self._submit(function, [], self._seal(same))

    def map(self, function: Callable[..., Any], parts: Iterable[Any], **same: Any) -> Iterator[Any]:
        """Has workers call a function with each part: a `ParallelMap`.

        Raises:
            WorkersDied: if a part ends all workers that try it.
            UserError: if the cluster is gone.
        """
        # As a task, what is the same is sent to each worker once, and made again if it is lost.
        sealed = self._client.submit(_as_it_is, self._seal(same), pure=False)
        waiting: deque[Future] = deque()
        for part in parts:
            waiting.append(self._submit(function, [part], sealed))
            # Results that nobody has taken yet must not fill the memory of the workers.
            while len(waiting) > 2 * max(self._count(), 2):
                yield self.result(waiting.popleft())
        while waiting:
            yield self.result(waiting.popleft())

    def result(self, task: "Future") -> Any:
        """Waits for the result of a task; an error is its own, or one of `map`."""
        from distributed import CancelledError, KilledWorker

        alive = time.monotonic()
        while True:
            try:
                return task.result(timeout=_GLANCE)
            except KilledWorker as error:
                raise WorkersDied(
                    f"{error.allowed_failures + 1} workers died while they were at it, most likely for want of "
                    "memory; give them more, or make it smaller tasks with --tiles"
                ) from error
            except CancelledError as error:
                raise _gone(self._client) from error
            except TimeoutError:
                if task.status == "error":  # it is the task's own
                    raise
                if self._count():
                    alive = time.monotonic()
                elif time.monotonic() - alive > PATIENCE:
                    raise UserError(
                        f"{_address(self._client)}: there has been no worker for {PATIENCE:.0f} seconds; start "
                        "some, and call the same command again: it goes on where it stopped"
                    ) from None

    def _submit(self, function: Callable[..., Any], parts: list[Any], sealed: Any) -> "Future":
        return self._client.submit(_call, function, _Sealed({"parts": parts}), sealed, str(Path.cwd()), pure=False)

    def _seal(self, same: dict[str, Any]) -> _Sealed:
        return _Sealed({key: self._stored if value is self.model else value for key, value in same.items()})

    def _count(self) -> int:
        """Returns how many workers there are."""
        try:
            return len(self._client.nthreads())
        except OSError as error:
            raise _gone(self._client) from error


def _call(function: Callable[..., Any], parts: _Sealed, sealed: _Sealed, folder: str) -> Any:
    """Calls a function in a worker, in the folder of the process that asked: paths mean the same."""
    import dask

    with _ALONE, dask.config.set(scheduler="synchronous"):  # a worker that asked others would wait for itself
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{folder}: the worker on {platform.node()} does not see this folder; call from one that all "
                "machines share"
            ) from error
        given = sealed.same.items()
        same = {key: _loaded(*value) if isinstance(value, _Stored) else value for key, value in given}
        return function(*parts.same["parts"], **same)


def _as_it_is(sealed: _Sealed) -> _Sealed:
    return sealed


@lru_cache(maxsize=1)
def _loaded(folder: str, digest: str) -> Model:
    """Returns the model of a folder, which a process loads once."""
    use_compilation_cache()
    if _digest(model_folder(folder)) != digest:
        raise UserError(f"{folder}: the worker sees another model here; give it the same files, or restart it")
    return load_model(folder)


def _digest(folder: Path) -> str:
    """Returns a digest of the settings and weights of a run folder."""
    weights = best_weights(folder)
    return key_of(weights, f"{weights.name} {key_of(folder / 'config.json', '')}")


def _gone(client: "Client") -> UserError:
    return UserError(
        f"{_address(client)}: the scheduler of Dask is gone; start it again, and call the same command: it goes "
        "on where it stopped"
    )


def _address(client: "Client") -> str:
    return str(getattr(client.scheduler, "address", "the cluster"))


# Schedulers: that of a cluster that somebody started, or one of workers on this machine


@contextmanager
def connecting(where: str) -> Generator["Client", None, None]:
    """Context manager yielding a client of a Dask cluster.

    Args:
        where: the address of its scheduler, as `tcp://host:8786`; its scheduler file; or `local:N` for N workers
            on this machine, which are ended afterwards: each has its share of the cores, and a GPU of its own if
            there are any.

    Raises:
        MissingFile: if there is no such scheduler file.
        UserError: if Dask is not installed, `where` is none of these, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            "a cluster needs the package distributed, which is not installed; pip install 'wsis-jax[dask]'"
        ) from error
    if where.startswith("local:"):
        with _local_cluster(where) as cluster, Client(cluster, set_as_default=False) as client:
            client.register_plugin(_sharing(len(cluster.workers)))
            yield client
        return
    if "://" not in where and not Path(where).is_file():
        raise MissingFile(
            f"{where}: there is no such scheduler file; call 'dask scheduler --scheduler-file {where}', or give "
            "an address such as tcp://host:8786, or local:2"
        )
    named: dict[str, Any] = {"address": where} if "://" in where else {"scheduler_file": where}
    try:
        client = Client(**named, set_as_default=False, timeout=_CONNECTING)
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: no scheduler of Dask answers there; start it, or check the address") from error
    with client:
        yield client


@contextmanager
def _local_cluster(where: str) -> Generator["LocalCluster", None, None]:
    """Context manager yielding a cluster of N processes on this machine."""
    import dask
    from distributed import LocalCluster

    if not re.fullmatch(r"local:[1-9][0-9]*", where):
        raise UserError(f"{where}: the number of workers is missing; give it, as in local:2")
    count, gpus = int(where.removeprefix("local:")), len(gpus_of_machine())
    if 0 < gpus < count:
        raise UserError(f"{where}: each worker needs a GPU of its own, and there are {gpus}; give local:{gpus}")
    settings = {
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
    }
    with _quiet(), dask.config.set(settings):
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=0,  # Dask would end workers that take more than their share
            dashboard_address="localhost:0",  # a free port, where the usual one may be taken
            silence_logs=logging.CRITICAL,
        )
        try:
            yield cluster
        finally:
            # On a busy machine a killed worker may take longer to end than Dask waits; it ends all the same.
            with suppress(TimeoutError):
                cluster.close()


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Context manager that silences the scheduler of this process: it logs every worker that is started again."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


# What each worker of a local cluster has of the machine


def _sharing(count: int) -> "WorkerPlugin":
    """Returns the plugin that gives each of the workers 0, 1, … of a local cluster its share of the machine."""
    from distributed import Worker, WorkerPlugin

    class Sharing(WorkerPlugin):
        name = "wsis-shares"

        def setup(self, worker: Worker) -> None:
            _take_share(int(worker.name), count)

        def __reduce__(self) -> tuple[Any, ...]:  # by what makes it: a worker has no such class before
            return _sharing, (count,)

    return Sharing()


def _take_share(number: int, count: int) -> None:
    """Gives this process the cores, and the GPU, of one of so many workers, before it does anything.

    N workers with all cores would fight over them. JAX is started first, since the last bit of its numbers depends
    on the threads that it makes, one for each core that it sees: so a worker computes what a process with the
    whole machine does.
    """
    import jax

    if gpus := gpus_of_machine():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    if hasattr(os, "sched_setaffinity"):
        jax.devices()
        cores = share(sorted(os.sched_getaffinity(0)), number % count, count)
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
