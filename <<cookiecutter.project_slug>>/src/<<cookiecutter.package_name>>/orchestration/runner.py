"""The Dask cluster on which a run executes its steps (dask-cluster), or one of them (dask-task).

Importing Dask takes a second, and not every command needs it: so it is imported where it is used.
"""

from __future__ import annotations

import asyncio
<% if cookiecutter.prefect_version == "3" %>
import copy
<% endif %>
import functools
import importlib
import itertools
import logging
import operator
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

<% if cookiecutter.prefect_version == "1" %>
from prefect.executors import DaskExecutor, Executor, LocalExecutor

<% endif %>
from ..errors import InputError, UnavailableError, describe
from ..evaluation.blocks import Block, Computed, join_blocks
from ..evaluation.selection import Selection
from ..pipeline import compute_part, get_blocks
from ..settings import (
    DASK_CLUSTER,
    SINGLE_MACHINE,
    Settings,
    carry,
    load_settings,
<% if cookiecutter.prefect_version == "1" %>
    saturn_url,
<% endif %>
)
<% if cookiecutter.prefect_version == "3" %>
from . import saturn
<% endif %>

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client
<% if cookiecutter.prefect_version == "3" %>
    from prefect import Task
    from prefect.task_runners import TaskRunner
<% endif %>

SECONDS_TO_CONNECT = 10
SECONDS_FOR_A_WORKER = 120
LOCAL_WORKERS = 2
FIRST_BLOCKS = 8
# So many parts of a version must be the same. Another Python cannot run what is sent to it.
PARTS = {"python": 2, "pandas": 1, "numpy": 1, "cloudpickle": 1, "dask": 1, "distributed": 1}
# Dask's own setting lets the C library ask the system for each block of memory anew, which takes
# half as long again. This is what it does without any setting, after a while.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": 32 * 2**20, "MALLOC_TRIM_THRESHOLD_": 64 * 2**20}
PACKAGE = str(__package__).partition(".")[0]
log = logging.getLogger(__name__)


def check_execution() -> None:
    """Check, before a run begins, that it can be executed as the settings say.

    Raises:
        InputError: Dask is not installed, or the cluster at DASK_ADDRESS has other versions.
        UnavailableError: The cluster cannot be reached, or has no workers.
    """
    settings = load_settings()
    if settings.execution != SINGLE_MACHINE:
        import_dask(settings)
        if settings.dask_address:
            with open_cluster():
                pass


def import_dask(settings: Settings) -> Any:  # noqa: ANN401  a module
    """Import what an execution needs of Dask.

    Raises:
        InputError: It is not installed.
    """
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")  # its workers', too
<% if cookiecutter.prefect_version == "3" %>
    needed = "prefect_dask" if settings.execution == DASK_CLUSTER else "distributed"
    try:
        importlib.import_module(needed)
        return importlib.import_module("distributed")
    except ImportError as error:
        problem = f"{settings.execution} needs the extra dask of this project ({describe(error)})"
        hint = "`pip install '.[dask]'` installs it; runs elsewhere need it in requirements.txt"
        raise InputError(f"EXECUTION: {problem}; {hint}") from None
<% else %>
    del settings  # prefect-saturn brings Dask along
    return importlib.import_module("distributed")
<% endif %>


@contextmanager
def open_cluster() -> Iterator[Client]:
    """Connect to a Dask cluster. One that was created for that is given back at the end.

    It is the one at DASK_ADDRESS; else, if Saturn Cloud is configured, one there; else one of
    processes on this machine.

    Raises:
        InputError: The cluster cannot be used.
        UnavailableError: It cannot be reached, or has no workers.
    """
    settings = load_settings()
    distributed = import_dask(settings)
    with ExitStack() as stack:
        if settings.dask_address:
            cluster, place = settings.dask_address, f"DASK_ADDRESS: {settings.dask_address}"
        else:
            cluster, place = _create_cluster(distributed, settings, stack)
        address = getattr(cluster, "scheduler_address", cluster)
        security = getattr(cluster, "security", None) or distributed.Security()
        try:
            asyncio.run(_greet(distributed, address, security.get_connection_args("client")))
        except Exception as error:  # Dask raises many kinds
            problem = f"no Dask scheduler answers within {SECONDS_TO_CONNECT} s ({describe(error)})"
            hint = "is it running, and is this its address?"
            raise UnavailableError(f"{place}: {problem}; {hint}") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
            # By its address: dask-saturn's cluster lacks what today's client would ask it for.
            client = distributed.Client(address, security=security, set_as_default=False)
            stack.enter_context(client)
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_A_WORKER)
        except TimeoutError:
            problem = f"the cluster has had no worker for {SECONDS_FOR_A_WORKER} s"
            raise UnavailableError(f"{place}: {problem}; start some") from None
        _compare_versions(place, client.get_versions())
        # The cluster need not have this package.
        cloudpickle = importlib.import_module("cloudpickle")
<% if cookiecutter.prefect_version == "1" %>
        if sys.modules.get(PACKAGE):  # else the flow itself came without it
            cloudpickle.register_pickle_by_value(sys.modules[PACKAGE])
<% else %>
        cloudpickle.register_pickle_by_value(sys.modules[PACKAGE])
<% endif %>
        yield client


def compute(client: Client, selection: Selection) -> Computed:
    """Compute target and predictions of the whole source on a cluster, block by block.

    Args:
        client: Of the cluster.
        selection: What was asked for; window and batch are left for later.

    Returns:
        What a trial needs of all rows, in the order of the source.

    Raises:
        InputError: data.py has no `blocks`, the rows cannot be read, or a function does not fit
            them; or a worker has too little memory.
    """
    distributed = importlib.import_module("distributed")
    # While the source is divided here, each worker imports what takes long.
    functions = _pickle(compute_part)
    for worker in client.ncores():  # type: ignore[no-untyped-call]
        loading = client.submit(pickle.loads, functions, workers=[worker], pure=False)
        distributed.fire_and_forget(loading)
    blocks, found = iter(get_blocks(selection)), list[Any]()
    compute_nth = carry(_compute_nth, read_carried())
    # All that many blocks need is sent once to each worker, which keeps it; but the first begin
    # while others are still looked for.
    while some := list(itertools.islice(blocks, max(FIRST_BLOCKS, len(found)))):
        sent = _pickle(functools.partial(compute_nth, some, selection))
        loaded = client.submit(pickle.loads, sent, pure=False)
        found += client.map(operator.call, [loaded] * len(some), range(len(some)), pure=False)
    log.info("computing %d blocks on %s", len(found), client.scheduler_info()["address"])
    try:
        computed: list[Block] = client.gather(found)  # type: ignore[no-untyped-call]
    except distributed.KilledWorker:
        problem = "workers ended, one after the other, while they computed the same block"
        hint = "give them more memory, or let data.py's blocks be smaller"
        raise InputError(f"dask-task: {problem}; {hint}") from None
    except ImportError as error:
        problem = f"a worker cannot import what it needs ({describe(error)})"
        hint = "install requirements.txt there; what functools.cache decorates is not sent at all"
        raise InputError(f"dask-task: {problem}; {hint}") from None
    return join_blocks(computed)


def _pickle(function: Callable[..., Any]) -> bytes:
    try:
        return bytes(importlib.import_module("cloudpickle").dumps(function))
    except Exception as error:  # what cannot be pickled raises errors of any kind
        problem = f"what they hold cannot be sent to a cluster ({describe(error)})"
        hint = "create such objects inside a function"
        raise InputError(f"data.py or model.py: {problem}; {hint}") from None


def read_carried() -> dict[str, str]:
    """Read the variables that a run's steps need on a cluster's workers, which have their own."""
    carried = {"TRIALS_URL": load_settings().trials}  # which reads the file .env, too
    names = ("DATA_URL", "DOWNLOAD_TIMEOUT", "DOWNLOAD_MAX_SECONDS", "DATA_MAX_MB")
    return carried | {name: os.environ[name] for name in names if name in os.environ}


def _compute_nth(
    blocks: Sequence[Callable[[], pd.DataFrame]], selection: Selection, number: int
) -> Block:
    return compute_part(blocks[number], selection)


<% if cookiecutter.prefect_version == "3" %>
def make_task_runner() -> TaskRunner[Any] | None:
    """Make what runs the steps of a flow: on a Dask cluster, or None for Prefect's default.

    Raises:
        InputError: It needs what is not installed.
    """
    settings = load_settings()
    if settings.execution != DASK_CLUSTER:
        return None
    import_dask(settings)
    from prefect import Flow
    from prefect.context import FlowRunContext
    from prefect_dask.task_runners import DaskTaskRunner

    class ClusterTaskRunner(DaskTaskRunner):
        """Opens the cluster that the settings name, when the first step is submitted."""

        def submit(self, task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            task = copy.copy(task)
            task.fn = carry(task.fn, read_carried())
            context = FlowRunContext.get()
            if context is None:
                return super().submit(task, *args, **kwargs)
            # The run's context goes along with each step, and with its flow all of this package.
            whole = context.flow
            try:
                context.flow = Flow(_do_nothing, name=str(whole and whole.name))
                return super().submit(task, *args, **kwargs)
            finally:
                context.flow = whole

        @property
        def client(self) -> Any:  # noqa: ANN401
            if not self._client:
                opened = self._exit_stack.enter_context(open_cluster())
                self.address = opened.scheduler_info()["address"]
                self.client_kwargs["security"] = opened.security
            return super().client

    return ClusterTaskRunner()


<% else %>
class ClusterExecutor(DaskExecutor):
    """Executes tasks on the cluster that the settings name."""

    address: str
    client_kwargs: dict[str, Any]

    @contextmanager
    def start(self) -> Iterator[None]:
        """Open the cluster, and give it back at the end."""
        with open_cluster() as client:
            self.address = client.scheduler_info()["address"]
            self.client_kwargs["security"] = client.security
            with super().start():
                yield


def make_executor(execution: str) -> Executor:
    """Make what executes the tasks of a flow."""
    return ClusterExecutor() if execution == DASK_CLUSTER else LocalExecutor()


<% endif %>
<% if cookiecutter.prefect_version == "3" %>
def _do_nothing() -> None:
    """Stands for a flow where only its name counts."""


<% endif %>
async def _greet(distributed: Any, address: str, how: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Let a scheduler answer: unlike a client, this leaves nothing behind where it does not."""
    async with distributed.rpc(address, timeout=SECONDS_TO_CONNECT, connection_args=how) as rpc:
        await asyncio.wait_for(rpc.identity(), SECONDS_TO_CONNECT)


def _create_cluster(
    distributed: Any,  # noqa: ANN401  a module
    settings: Settings,
    stack: ExitStack,
) -> tuple[Any, str]:
    """Create a cluster, which the stack gives back; and say where it is."""
<% if cookiecutter.prefect_version == "1" %>
    if not saturn_url():
<% else %>
    if not saturn.is_configured():
<% endif %>
        workers = settings.dask_workers or LOCAL_WORKERS
        options = {"n_workers": workers, "dashboard_address": "127.0.0.1:0"}
        dask_config = importlib.import_module("dask").config
        before_start = "distributed.nanny.pre-spawn-environ"
        with dask_config.set({f"{before_start}.{name}": MALLOC[name] for name in MALLOC}):
            local = distributed.LocalCluster(threads_per_worker=1, **options)
        return stack.enter_context(local), "this machine"
    # dask-saturn's name for the address
    os.environ["SATURN_BASE_URL"] = os.environ.get("SATURN_BASE_URL") or os.environ["BASE_URL"]
    asked = {"n_workers": settings.dask_workers, "worker_size": settings.dask_worker_size}
    known = {name: value for name, value in asked.items() if value is not None}
    try:
        saturn_cluster = importlib.import_module("dask_saturn").SaturnCluster
        cluster = saturn_cluster(**known, shutdown_on_close=True)
    except ImportError as error:
        problem = f"a cluster of Saturn Cloud needs dask-saturn ({describe(error)})"
        raise InputError(f"EXECUTION: {problem}; install it, or set DASK_ADDRESS") from None
    except (OSError, ValueError, LookupError, RuntimeError, TypeError) as error:
        is_wrong = "is not a valid option" in str(error)  # dask-saturn's words for a size
        problem = f"Saturn Cloud gives no Dask cluster ({describe(error)})"
        problem += "; see DASK_WORKERS and DASK_WORKER_SIZE"
        raise (InputError if is_wrong else UnavailableError)(f"EXECUTION: {problem}") from None
    return stack.enter_context(cluster), "Saturn Cloud"


def _compare_versions(place: str, versions: Mapping[str, Any]) -> None:
    """Refuse a cluster that cannot run what this project sends; tell of others that differ."""
    own = versions["client"]["packages"]
    worst: dict[str, str] = {}
    for other in (versions["scheduler"], *versions["workers"].values()):
        for name in PARTS:
            there = str(other["packages"].get(name))
            if there != own[name]:
                worst.setdefault(name, f"{name} {there} there, {own[name]} here")
                if there.split(".")[: PARTS[name]] != own[name].split(".")[: PARTS[name]]:
                    problem = f"the cluster differs in {worst[name]}"
                    raise InputError(f"{place}: {problem}; give both the same")
    if worst:
        log.warning("%s: the cluster differs in %s", place, ", ".join(sorted(worst.values())))
