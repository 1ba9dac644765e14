"""`make demo`: scaffold the default project, connect it to a local Prefect, register the flow and run it once.

With no account at all: the Prefect server and the worker are started here, and ended here, also when interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
SLUG = "ticket-model-evaluation"
SECONDS_TO_START = 180


class DemoError(Exception):
    """What went wrong, in one line."""


def say(text: str) -> None:
    """Print what comes next, as long things are silent."""
    print(f"\n== {text}", flush=True)


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scaffold(folder: Path) -> Path:
    """Scaffold the default project anew.

    Raises:
        DemoError: When there is something at its place that no demo has made.
    """
    project = folder / SLUG
    if project.exists():
        if not (folder / ".demo").exists():
            raise DemoError(
                f"{project} is there, and no demo made it; take another folder: make demo DEMO_DIR=..."
            )
        shutil.rmtree(project)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".demo").touch()
    os.environ["PREFECT_CONNECT"] = "never"
    cookiecutter(str(ROOT), no_input=True, output_dir=str(folder))
    return project


@contextmanager
def background(
    command: list[str], project: Path, log: Path, ready: str, keep: bool
) -> Iterator[int]:
    """Run a long-lived command until the block ends, or, with `keep`, beyond it; wait until its log says `ready`.

    Raises:
        DemoError: When it ends, or is not ready in time; with the end of its log.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=project, stdout=output, stderr=output, start_new_session=True
        )
    kept = False
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while ready not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (log.read_text().strip().splitlines() or ["it wrote nothing"])[-1]
                raise DemoError(f"{' '.join(command[1:])} did not start: {last} (all of it: {log})")
            time.sleep(0.3)
        yield process.pid
        kept = keep
    finally:
        if not kept and process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def run(command: list[str], project: Path, problem: str) -> str:
    """Run a command; its stderr is shown as it comes, its stdout returned.

    Raises:
        DemoError: Saying `problem`, when it fails.
    """
    result = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        raise DemoError(f"{problem} (exit code {result.returncode}; its own message stands above)")
    return result.stdout


def demo(folder: Path, data: str, keep: bool) -> None:
    """Go the whole way.

    Args:
        folder: Where the project is made.
        data: What to evaluate on; empty is the UCI download.
        keep: Leave the server running.

    Raises:
        DemoError: With the step that failed.
    """
    if data and data != "sample" and "://" not in data:
        if not Path(data).expanduser().exists():
            raise DemoError(
                f"DATA: there is no {data}; give a path, a URL, or DATA=sample for synthetic tickets"
            )
        data = str(Path(data).expanduser().resolve())
    say(f"Scaffolding the default project into {folder / SLUG}")
    project = scaffold(folder)
    command = str(project / ".venv" / "bin" / SLUG)
    others = ("BASE_URL", "TRIALS_URL", "DATA_URL", "GIT_BLOCK")
    for name in [
        name for name in os.environ if name.startswith(("PREFECT_", "SATURN_")) or name in others
    ]:
        del os.environ[name]
    # A home of its own for Prefect, and a cache: the demo leaves nothing in the user's.
    os.environ.update(PREFECT_HOME=str(folder / "prefect"), CACHE_DIR=str(folder / "cache"))
    os.environ["PREFECT_WORKER_QUERY_SECONDS"] = "2"
    say("Installing its locked requirements (about 600 MB the first time)")
    run(
        ["make", "--no-print-directory", "setup"],
        project,
        "the requirements could not be installed",
    )
    say("Evaluating the model, without Prefect")
    problem = "the model could not be evaluated; without the download, `make demo DATA=sample` takes synthetic tickets"
    arguments = ["--data", data] if data else []
    print(run([command, "evaluate", *arguments], project, problem), end="", flush=True)
    port = free_port()
    with ExitStack() as running:
        say("Starting a local Prefect server with SQLite, and connecting the project to it")
        server_log, worker_log = folder / "server.log", folder / "worker.log"
        serve = [command, "server", "--port", str(port)]
        server = running.enter_context(background(serve, project, server_log, "Ctrl-C stops", keep))
        say("Registering the flow, with its schedule")
        run([command, "register"], project, "the flow could not be registered")
        say("Starting a worker, and a quick run")
        running.enter_context(
            background([command, "worker"], project, worker_log, "started!", keep=False)
        )
        parameters = ["--param", f"data={data}"] if data else []
        page = run(
            [command, "run", "--watch", *parameters], project, "the run did not complete"
        ).strip()
        say("The trial that the run has kept, and the one before it")
        print(run([command, "history", "--last", "2"], project, "history failed"), end="")
        print(f"\nThe run's page: {page}")
        if keep:
            print(
                f"The server stays up. To stop it: kill {server}. For the project's commands to find it:"
            )
            print(f"    export PREFECT_API_URL=http://127.0.0.1:{port}/api")
        else:
            print(
                "It goes with the server, which ends now; `make demo KEEP=1` leaves that up to look at."
            )
    print(f"The project stays in {project}; its README.md says the rest.")


def main() -> int:
    """Run the demo; exit with 0 when done, 1 with one line when not, 130 when interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--data", default="")
    parser.add_argument("--keep", default="")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demo(arguments.into.resolve(), arguments.data, keep=arguments.keep not in ("", "0"))
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; what it started is ended", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
