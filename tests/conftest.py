"""Fixtures: baked projects, and projects installed once per run for each variant and Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from commands import Commands, Prefork
from filelock import FileLock
from prefect_server import Prefect, background, wait_until
from projects import (
    COLLECT_LESS,
    PYTHONS,
    VARIANTS,
    Project,
    bake,
    find_python,
    lend_environment,
    own_environment,
    run,
    share_bytecode,
)
from slow import SlowLog

from tools.demo import find_port

collect_ignore = ["patterns"]  # laid over generated projects, whose tests are in there
MISSING = [version for version in PYTHONS if find_python(version) is None]
SECOND_SERVER = ("test_register", "test_alerts", "test_saturn")
LONGEST = ("server 1", "server 2", "test_patterns", "test_generated", "test_evaluate", "prefect_1")
REQUIRED = os.environ.get("REQUIRE_PYTHONS", "").split()


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a module's tests in one process, those that need Prefect's server in two of their own.

    The server takes long to start. What takes longest begins first.
    """

    def group_of(item: pytest.Item) -> str:
        module = item.nodeid.partition("::")[0]
        if "prefect" not in getattr(item, "fixturenames", ()):
            return module
        return f"prefect server {1 + (Path(module).stem in SECOND_SERVER)}"

    def rank(item: pytest.Item) -> int:
        name = next(item.iter_markers("xdist_group")).args[0]
        return next((i for i, each in enumerate(LONGEST) if each in name), len(LONGEST))

    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=rank)


def pytest_report_header() -> str:
    return f"pythons not on this machine: {', '.join(MISSING) or 'none'}"


def pytest_sessionstart() -> None:
    lacking = sorted(set(REQUIRED) & set(MISSING))
    if lacking:
        pytest.exit(
            f"REQUIRE_PYTHONS: this machine does not have Python {', '.join(lacking)}",
            1,
        )


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test uses the home folder or the settings of whoever runs it."""
    for name, value in own_environment(tmp_path_factory.mktemp("home")).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture
def baked(tmp_path: Path) -> Callable[..., Project]:
    """Bake a project with the given answers into a folder of its own."""
    return lambda **answers: bake(tmp_path, **answers)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all test processes of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture(scope="session")
def installed(shared: Path) -> Callable[[str, str], Project]:
    """The default project of a variant, installed once by its own `make setup` on a Python."""

    def install(variant: str, version: str) -> Project:
        folder = shared / f"installed-{variant}-{version}"
        with FileLock(f"{folder}.lock", timeout=900):
            if not folder.exists():
                project = bake(folder, prefect_version=variant)
                result = run(
                    "make", "setup", f"PYTHON={find_python(version)}", cwd=project.path, limit=900
                )
                assert result.returncode == 0, result.stdout + result.stderr
                (packages,) = project.path.glob(".venv/lib/python*/site-packages")
                (packages / "quick.pth").write_text(COLLECT_LESS)
                for lender in shared.glob(f"installed-*-{version}/*/.venv/lib/*/site-packages"):
                    share_bytecode(lender, packages)
        return Project(folder / "ticket-model-evaluation")

    return install


@pytest.fixture(scope="session")
def types_cache(
    shared: Path, installed: Callable[[str, str], Project]
) -> Callable[[str], dict[str, str]]:
    """By variant, a variable that names the type checker's cache, with all packages in it.

    The second variant begins with what the first one has: most packages are the same.
    """

    def cache(variant: str) -> dict[str, str]:
        folder = shared / f"types-{variant}"
        variable = {"MYPY_CACHE_DIR": str(folder)}
        with FileLock(shared / "types.lock", timeout=600):
            if not folder.exists():
                if filled := list(shared.glob("types-?")):
                    shutil.copytree(filled[0], folder)
                project = installed(*existing(variant))
                project.run(project.python, "-m", "mypy", env=variable, limit=400)
        return variable

    return cache


@pytest.fixture(
    params=[(variant, version) for variant in VARIANTS for version in ("3.11", "3.13", "3.14")]
)
def default_project(
    request: pytest.FixtureRequest, installed: Callable[[str, str], Project]
) -> Project:
    """The default project of each variant on the oldest and the newest Pythons; read-only."""
    return installed(*existing(*request.param))


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """The answer `prefect_version`."""
    return request.param


@pytest.fixture
def project(variant: str, tmp_path: Path, installed: Callable[[str, str], Project]) -> Project:
    """A project of each variant for a test to change, installed."""
    return lend_environment(bake(tmp_path, prefect_version=variant), installed(*existing(variant)))


def existing(variant: str, version: str | None = None) -> tuple[str, str]:
    """The variant, and a version of Python that there is; skips without one.

    Args:
        variant: The answer `prefect_version`.
        version: Or `newest`, of those on this machine; None is the oldest.
    """
    at_hand = [each for each in PYTHONS if each not in MISSING] or [*PYTHONS]
    version = {None: at_hand[0], "newest": at_hand[-1]}.get(version, version)
    if version in MISSING:
        pytest.skip(f"no Python {version} on this machine")
    return variant, version


# Variant 3 on a real server.

# What the commands that talk to Prefect import, and the flow that `register` loads.
OF_COMMANDS = [
    "prefect.cli.deploy",
    "pandas",
    "pyarrow.compute",
    "sklearn.metrics",
    *(
        f"ticket_model_evaluation.{name}"
        for name in ("cli", "orchestration.register", "orchestration.runs", "orchestration.server")
    ),
]


@pytest.fixture(scope="module")
def commands_of_module(
    request: pytest.FixtureRequest, installed: Callable[[str, str], Project]
) -> Iterator[Commands]:
    """Quick commands of the default project; an indirect parameter sets their Python."""
    commands = Commands(installed(*existing("3", getattr(request, "param", None))))
    yield commands
    commands.close()


@pytest.fixture
def commands(commands_of_module: Commands, tmp_path: Path) -> Commands:
    """The same, in a folder of the test's own."""
    commands_of_module.folder = tmp_path
    return commands_of_module


@pytest.fixture(scope="session")
def make_prefect_home(
    shared: Path, installed: Callable[[str, str], Project]
) -> Callable[[Path], None]:
    """Make a Prefect home with an empty database, for which a server needs 9 seconds each time."""
    home = shared / "prefect-home"
    with FileLock(f"{home}.lock", timeout=300):
        if not home.exists():
            project = installed(*existing("3"))
            own = own_environment(shared / "home") | {"PREFECT_HOME": str(home)}
            command = (project.python, "-m", "prefect", "server", "database", "upgrade", "-y")
            result = run(*command, env=own, limit=200)
            assert result.returncode == 0, result.stdout + result.stderr

    def make(folder: Path) -> None:
        folder.mkdir(0o700, parents=True)
        shutil.copy(home / "prefect.db", folder)

    return make


@pytest.fixture(scope="session")
def prefect(
    tmp_path_factory: pytest.TempPathFactory,
    installed: Callable[[str, str], Project],
    make_prefect_home: Callable[[Path], None],
) -> Iterator[Prefect]:
    """A real Prefect server with SQLite on loopback, and a home folder of its own."""
    folder = tmp_path_factory.mktemp("prefect-3")
    environment = own_environment(folder / "home")
    environment |= {
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "SATURN_USERNAME": "ann",
        "DATA_URL": "sample",
    }
    project = lend_environment(bake(folder / "server"), installed(*existing("3")))
    make_prefect_home(folder / "home" / f".prefect-{project.slug}")
    port = find_port()
    log = folder / "server.log"
    with background(project, log, environment, "server", "--port", str(port)) as server:
        wait_until(
            lambda: server.poll() is not None or "Ctrl-C stops" in log.read_text(),
            "the server",
            limit=240,
        )
        assert server.poll() is None, log.read_text()
        prefork = Prefork(installed(*existing("3")), *OF_COMMANDS)
        url = f"http://127.0.0.1:{port}"
        yield Prefect(url, folder / "home", project, installed, prefork, environment)
        prefork.close()


@pytest.fixture(scope="session")
def registered(prefect: Prefect) -> Project:
    """The server's project, registered; its worker is another fixture."""
    result = prefect.run("register")
    assert result.returncode == 0, result.stderr
    return prefect.project


@pytest.fixture(scope="session")
def worker(prefect: Prefect, registered: Project) -> Iterator[Path]:
    """A worker of the project; gives its log."""
    log = prefect.home / "worker.log"
    with background(registered, log, prefect.environment, "worker"):
        yield log


@pytest.fixture
def another(prefect: Prefect, tmp_path: Path) -> Callable[..., Project]:
    """Bake another project, with an environment; it has no connection yet."""
    return lambda **answers: lend_environment(
        bake(tmp_path, **answers), prefect.installed(*existing("3"))
    )


@pytest.fixture
def slow_log() -> Iterator[SlowLog]:
    """A log that comes when the test says so."""
    with SlowLog() as log:
        yield log


# An object store.


def client_of(address):
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[str]:
    """The address of an S3 server on loopback, with the bucket `store`."""
    log = (tmp_path_factory.mktemp("s3") / "log").open("w+")
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            log.seek(0)
            address = next(
                (word for word in log.read().split() if word.startswith("http://127.0.0.1:")), None
            )
            if address is not None:
                break
            assert process.poll() is None, log.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        client_of(address).create_bucket(Bucket="store")
        yield address
    finally:
        process.kill()
        process.wait(10)
        log.close()
