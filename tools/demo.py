"""`make demo`: scaffold the default project, connect it to a local Prefect, and run its flow once.

Then evaluate the past, and report whether the model became worse.

No account is needed: the Prefect server and the worker are started and stopped here, also when the
demo is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
SLUG = "ticket-model-evaluation"
# Where the project's data.py downloads the log from.
UCI = "https://archive.ics.uci.edu/static/public/498/incident+management+process+enriched+event+log.zip"
PROBE = (
    "import requests, sys; requests.get(sys.argv[1], stream=True, timeout=12).raise_for_status()"
)
# Where most of the data lies, and how long windows are, so that there are about 60.
PERIOD = """
import sys
from ticket_model_evaluation.data import get_ticket_data_batch
from ticket_model_evaluation.evaluation.selection import make_selection
rows = get_ticket_data_batch(make_selection(sys.argv[1] or None, batch_size=None))
start, end = rows["closed_at"].quantile([0.01, 0.95]).dt.ceil("D")
print(start.isoformat(), end.isoformat(), f"{(end - start).days // 60 + 1}d")
"""
WORSE = 3  # exit code of the project's command
VERDICTS = {
    "as before": "the model itself did not become worse",
    "worse": "the model became worse",
    "data changed": "the tickets became harder, and the model itself did not become worse",
}
UNKNOWN = "there is not enough history to say whether the model became worse"
SECONDS_TO_PROBE = 15
SECONDS_TO_START = 180
SETTINGS = ("BASE_URL", "CACHE_DIR", "DATA_URL", "GIT_BLOCK", "TRIALS_URL")


class DemoError(Exception):
    """What went wrong, in one line."""


def say(text: str) -> None:
    """Print what comes next, as long steps are silent."""
    print(f"\n== {text}", flush=True)


def choose_data(data: str) -> str:
    """Find out what to evaluate on.

    Args:
        data: A path, a URL or `sample`; empty is the UCI download, or `sample` where UCI cannot be
            reached.

    Returns:
        The same, a path as an absolute one; empty only where UCI can be reached.

    Raises:
        DemoError: When there is no such path.
    """
    if data == "sample" or "://" in data:
        return data
    if data:
        path = Path(data).expanduser().resolve()
        if not path.exists():
            problem = f"DATA: {data} does not exist"
            raise DemoError(f"{problem}; give a path, a URL, or DATA=sample for synthetic tickets")
        return str(path)
    say("Asking UCI for its incident log (2.4 MB)")
    # In a process of its own, as looking up a name has no limit otherwise.
    command = [sys.executable, "-c", PROBE, UCI]
    try:
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=SECONDS_TO_PROBE)
    except subprocess.SubprocessError:
        print(
            "It cannot be reached, so the demo goes on with synthetic tickets. "
            "To evaluate a log: make demo DATA=path-or-url"
        )
        return "sample"
    return ""


def find_port() -> int:
    """Find a free port.

    It is below those that systems give to whoever asks for any: they would give it away before a
    server that takes long to start listens there.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def scaffold(folder: Path) -> Path:
    """Scaffold the default project anew.

    Raises:
        DemoError: When its place is taken by something that no demo has made.
    """
    project = folder / SLUG
    if project.exists():
        if not (folder / ".demo").exists():
            problem = f"{project} already exists, and no demo made it"
            raise DemoError(f"{problem}; choose another folder: make demo DEMO_DIR=...")
        shutil.rmtree(project)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".demo").touch()
    # Without hooks: they connect, and say what comes next, which the demo does itself.
    cookiecutter(str(ROOT), no_input=True, accept_hooks=False, output_dir=str(folder))
    return project


def isolate(folder: Path) -> None:
    """Hide the user's settings, and keep what Prefect and the project store in this folder."""
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "SATURN_")) or name in SETTINGS:
            del os.environ[name]
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "CACHE_DIR": str(folder / "cache"),
        "SATURN_USERNAME": "demo",  # the flow's name begins with it
    }


@contextmanager
def background(
    command: list[str], project: Path, log: Path, ready: str, keep: bool
) -> Iterator[int]:
    """Run a long-lived command until the block ends, or, with `keep`, beyond it.

    Args:
        command: The command.
        project: Where it runs.
        log: Where its output goes.
        ready: What its output holds once it is ready, which is waited for.
        keep: Leave it running.

    Yields:
        Its process id.

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


def run(command: list[str], project: Path, problem: str, done: tuple[int, ...] = (0,)) -> str:
    """Run a command; its stderr is shown as it comes, its stdout returned.

    Raises:
        DemoError: Saying `problem`, when its exit code is none of `done`.
    """
    result = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode not in done:
        raise DemoError(f"{problem} (exit code {result.returncode}; its own message stands above)")
    return result.stdout


def run_flow(command: str, project: Path, data: str, keep: bool) -> None:
    """Run the flow once on a local Prefect server, and show what it measured.

    Args:
        command: The project's own command.
        project: The project's folder.
        data: What to evaluate on; empty is the UCI download.
        keep: Leave the server running.

    Raises:
        DemoError: With the step that failed.
    """
    folder = project.parent
    port = find_port()
    with ExitStack() as running:
        say("Starting a local Prefect server, connecting the project to it, creating its work pool")
        serve = [command, "server", "--port", str(port)]
        server = running.enter_context(
            background(serve, project, folder / "server.log", "Ctrl-C stops", keep)
        )
        say("Registering the flow, with its schedule, in that work pool")
        run([command, "register"], project, "the flow could not be registered")
        say("Starting a worker, and running the flow now")
        running.enter_context(
            background([command, "worker"], project, folder / "worker.log", "started!", keep=False)
        )
        parameters = ["--param", f"data={data}"] if data else []
        watch = [command, "run", "--watch", *parameters]
        page = run(watch, project, "the run did not complete").strip()
        say(
            "The trials so far; each draws its own 1,000 tickets at random, so they differ a little"
        )
        print(run([command, "history", "--last", "2"], project, "history failed"), end="")
        last = run([command, "history", "--json", "--last", "1"], project, "history failed")
        say(describe(json.loads(last), project))
        if keep:
            print(f"The run's page: {page}\nTo stop the server: kill {server}")
            print("For the project's commands to find it:")
            print(f"    export PREFECT_API_URL=http://127.0.0.1:{port}/api")
        else:
            print("To browse the run in Prefect's pages: make demo KEEP=1, which keeps the server.")


def show_history(command: str, project: Path, data: str) -> None:
    """Evaluate the past, window by window, and report on it.

    Raises:
        DemoError: With the step that failed.
    """
    say("Evaluating the past, window by window")
    python = str(project / ".venv" / "bin" / "python")
    problem = "the data's period could not be found"
    start, end, every = run([python, "-c", PERIOD, data], project, problem).split()
    source = ["--data", data] if data else []
    backfill = [command, "backfill", *source, "--from", start, "--to", end, "--every", every]
    print(run(backfill, project, "the past could not be evaluated", (0, WORSE)), end="", flush=True)
    report = run([command, "report"], project, "the report could not be made").strip()
    lines = run([command, "history", "--json", "--last", "1000"], project, "history failed")
    trials = [json.loads(line) for line in lines.splitlines()]
    say(conclude([trial for trial in trials if trial["window"]], report))


def conclude(trials: list[dict[str, Any]], report: str) -> str:
    """Say in a sentence what the history shows, and where to see it."""
    hours = [trial["data"]["metrics"]["MAE"] / 3600 for trial in trials]
    verdict = VERDICTS.get(trials[-1]["gate"]["name"], UNKNOWN)
    moved = f"the average error was between {min(hours):.0f} and {max(hours):.0f} hours"
    return f"In {len(trials)} windows {moved}; {verdict}. The whole history: {report}"


def describe(trial: dict[str, Any], project: Path) -> str:
    """Say in a sentence what a trial measured, on what, and where it is kept."""
    hours = trial["data"]["metrics"]["MAE"] / 3600
    source = trial["source"].get("name") or trial["source"]["data"]
    measured = (
        f"On {trial['data']['num_obs']:,} tickets of the {source}, the predicted time to close "
        f"was off by {hours:.0f} hours on average (MAE)."
    )
    files = f"Each trial is a file in {project / 'trials'}; {project / 'README.md'} has the rest."
    return f"{measured}\n{files}"


def demo(folder: Path, data: str, keep: bool) -> None:
    """Go from nothing to a completed run.

    Args:
        folder: Where the project is made.
        data: What to evaluate on; empty is the UCI download, or synthetic tickets where UCI cannot
            be reached.
        keep: Leave the server running.

    Raises:
        DemoError: With the step that failed.
    """
    data = choose_data(data)
    say(f"Scaffolding the default project into {folder / SLUG}")
    project = scaffold(folder)
    isolate(folder)
    say("Installing its locked requirements (about 900 MB the first time)")
    setup = ["make", "--no-print-directory", "setup"]
    run(setup, project, "the requirements could not be installed")
    say("Evaluating the model, without Prefect")
    command = str(project / ".venv" / "bin" / SLUG)
    arguments = ["--data", data] if data else []
    problem = "the model could not be evaluated; `make demo DATA=sample` takes synthetic tickets"
    print(run([command, "evaluate", *arguments], project, problem), end="", flush=True)
    run_flow(command, project, data, keep)
    show_history(command, project, data)


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
        print("\ndemo: interrupted; everything that it started has been stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
