"""Schedulers of Dask: that of a cluster somebody started, or one of workers on this machine."""

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis_jax.core.errors import MissingFile, UserError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

_CONNECTING = "30s"
# Deaths of a worker that a task may be found at. Dask counts those that only waited there as well.
_DEATHS = 10


@contextmanager
def connecting(where: str) -> Generator["Client", None, None]:
    """Lends a client of a Dask cluster.

    Args:
        where: the address of its scheduler, as `tcp://host:8786`; its scheduler file; or `local:N` for N workers
            on this machine, which are ended afterwards: each has its share of the cores, and a GPU of its own if
            there are any.

    Raises:
        UserError: if Dask is not installed, or `where` is none of these.
        MissingFile: if there is no such scheduler file.
        UserError: if no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            "a cluster needs the package distributed, which is not installed; pip install 'wsis-jax[dask]'"
        ) from error
    if where.startswith("local:"):
        from wsis_jax.segmentation.shares import Shares

        with _local_cluster(where) as cluster, Client(cluster, set_as_default=False) as client:
            client.register_plugin(Shares(len(cluster.workers)))
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
    """Lends a cluster of N processes on this machine."""
    import dask
    from distributed import LocalCluster

    from wsis_jax.segmentation.shares import gpus_of_machine

    if not re.fullmatch(r"local:[1-9][0-9]*", where):
        raise UserError(f"{where}: the number of workers is missing; give it, as in local:2")
    count, gpus = int(where.removeprefix("local:")), len(gpus_of_machine())
    if 0 < gpus < count:
        raise UserError(f"{where}: each worker needs a GPU of its own, and there are {gpus}; give local:{gpus}")
    settings = {
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
    }
    with (
        _quiet(),
        dask.config.set(settings),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=0,  # Dask would end workers that take more than their share
            dashboard_address="localhost:0",  # a free port, where the usual one may be taken
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Keeps the messages of a scheduler of this process to it: a worker that is started again is no news."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
