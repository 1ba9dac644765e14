"""Measure the speed that the design promises, side by side (`make bench SEED=... LOG=...`).

What is compared alternates, so that a machine that is busy for a while is so for both; medians are
shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BUILD = ROOT / "build" / "bench"
SLUG, PACKAGE = "ticket-model-evaluation", "ticket_model_evaluation"
READERS = ("pyarrow", "polars", "duckdb")


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its stdout.

    Raises:
        SystemExit: With the command's stderr, when it fails.
    """
    # Bytecode is kept, as on any user's machine.
    merged = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    result = subprocess.run(
        [str(part) for part in command],
        env={**merged, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def timed(*command: str | Path, env: Mapping[str, str] | None = None) -> float:
    """How many seconds a process takes."""
    start = time.perf_counter()
    run(*command, env=env)
    return time.perf_counter() - start


def alternate(times: int, **works: Callable[[], float | list[float]]) -> dict[str, float]:
    """Measure each in turn, `times` times; medians of seconds."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            seconds = work()
            found[name] += seconds if isinstance(seconds, list) else [seconds]
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def make_environment(name: str, *packages: str | Path) -> Path:
    """Make a virtual environment with bytecode for all of its packages; returns its Python."""
    folder, uv = BUILD / name, (sys.executable, "-m", "uv")
    python = folder / "bin" / "python"
    run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder)
    install = (*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python)
    run(*install, *packages)
    if name == "ours":
        run(*install, "--no-deps", "-e", BUILD / SLUG)
    return python


def scaffold(template: Path) -> float:
    """How many seconds it takes to generate a project with all defaults, as a process."""
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "cookiecutter", template, "--no-input", "-o", folder)
        return timed(*command, env={"HOME": folder, "PREFECT_CONNECT": "never"})


def measure_scaffolding(times: int) -> dict[str, float]:
    """Seconds to scaffold `ours`, cookiecutter-pypackage's project, and an `empty` one."""
    pypackage = make_environment("pypackage", "cookiecutter-pypackage")
    packages = pypackage.parents[1].glob("lib/*/site-packages")
    template = next(packages) / "cookiecutter_pypackage" / "template"
    empty = BUILD / "empty"
    (empty / "{{cookiecutter.name}}").mkdir(parents=True)
    (empty / "cookiecutter.json").write_text('{"name": "empty"}')
    return alternate(
        4 * times,  # each takes a fraction of a second, so other work on the machine shows more
        ours=lambda: scaffold(ROOT),
        pypackage=lambda: scaffold(template),
        empty=lambda: scaffold(empty),
    )


@dataclass(frozen=True)
class Trials:
    """Measures trials of the real log.

    Attributes:
        python: The generated project's Python.
        log: The event log.
        times: How often each is measured.
    """

    python: Path
    log: Path
    times: int

    def trial(self, cache: Path) -> tuple[float, float, dict[str, float]]:
        """Seconds of a trial, of one without intervals, and of each step of its process."""
        start = time.perf_counter()
        command = (self.python, HERE / "project_trial.py", PACKAGE, self.log)
        told = json.loads(run(*command, env={"CACHE_DIR": str(cache)}))
        steps = told["steps"]
        rest = time.perf_counter() - start - sum(steps.values())
        steps["the rest: start and end of Python, ..."] = rest
        return told["seconds"], told["plain"], steps

    def against_seed(self, document: Path) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Seconds of the `seed`'s trial and of ours, and the steps of the warm.

        Ours are `cold`, `warm`, and `plain`: warm and without intervals, as the seed's is.
        """
        seeds = make_environment("seeds", "pandas<3", "numpy", "requests", "scikit-learn")
        plains: list[float] = []
        steps: list[dict[str, float]] = []

        def cold() -> float:
            with tempfile.TemporaryDirectory(dir=BUILD) as cache:
                return self.trial(Path(cache))[0]

        def warm() -> float:
            seconds, plain, parts = self.trial(BUILD / "warm")
            plains.append(plain)
            steps.append(parts)
            return seconds

        self.trial(BUILD / "warm")  # fills the cache
        seed = (seeds, HERE / "seed_trial.py", document, self.log)
        found = alternate(self.times, seed=lambda: float(run(*seed)), cold=cold, warm=warm)
        return {**found, "plain": statistics.median(plains)}, steps

    def reading(self) -> dict[str, float]:
        """Seconds to read the zip: `ours`, each of the readers, and nothing but to `inflate` it."""
        readers = make_environment("readers", *READERS)

        def read(python: Path, library: str) -> list[float]:
            return list(json.loads(run(python, HERE / "read_zip.py", library, self.log)))

        works = {name: lambda name=name: read(readers, name) for name in ("inflate", *READERS)}
        return alternate(self.times, ours=lambda: read(self.python, PACKAGE), **works)

    def starts(self) -> dict[str, float]:
        """Seconds of `evaluate` as a process, and of its two slowest imports alone."""

        def evaluate() -> float:
            with tempfile.TemporaryDirectory() as trials:
                options = ("--data", self.log, "--trials", trials)
                command = (self.python.parent / SLUG, "evaluate", *options)
                return timed(*command, env={"CACHE_DIR": str(BUILD / "warm")})

        def imports() -> float:
            return timed(self.python, "-c", "import pandas, sklearn.metrics")

        return alternate(self.times, evaluate=evaluate, imports=imports)

    def backfill(self) -> float:
        """Seconds of a backfill of 100 windows of the log, as a process."""

        def backfill() -> float:
            with tempfile.TemporaryDirectory() as trials:
                windows = ("--from", "2016-03-01", "--to", "2016-12-26", "--every", "3d")
                options = (*windows, "--data", self.log, "--trials", trials)
                command = (self.python.parent / SLUG, "backfill", *options)
                return timed(*command, env={"CACHE_DIR": str(BUILD / "warm")})

        return alternate(3, backfill=backfill)["backfill"]

    def history(self, count: int = 10_000) -> dict[str, float]:
        """Seconds to print as many trials as JSON, with `history` and with `json` alone."""
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            options = ("--data", self.log, "--trials", folder)
            run(self.python.parent / SLUG, "evaluate", *options)
            (kept,) = Path(folder).iterdir()
            trial = json.loads(kept.read_text())
            for number in range(count - 1):
                day, second = divmod(number, 86_400)
                moment = f"2025-01-{1 + day:02d}T{second // 3600:02d}:{second // 60 % 60:02d}"
                trial["created_at"] = f"{moment}:{second % 60:02d}.000000Z"
                trial["id"] = f"{number:08x}-0000-4000-8000-000000000000"
                stamp = "".join(filter(str.isalnum, trial["created_at"]))
                Path(folder, f"{stamp}-{trial['id']}.json").write_text(json.dumps(trial))
            command = (self.python.parent / SLUG, "history", "--json", "--last", str(count))
            assert run(*command, "--trials", folder).count("\n") == count
            plain = f"""
import json, pathlib
for path in sorted(pathlib.Path({folder!r}).iterdir()):
    print(json.dumps(json.loads(path.read_text())))
"""
            return alternate(
                self.times,
                history=lambda: timed(*command, "--trials", folder),
                json=lambda: timed(self.python, "-c", plain),
            )


EMPTY_FLOW = """
from prefect import flow, task


@task
def nothing() -> None:
    pass


@flow
def empty_flow() -> None:
    nothing()
"""


def ask(url: str, body: object = None) -> Any:  # noqa: ANN401  JSON
    """Ask Prefect's API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    for _ in range(60):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # which a server on SQLite answers while it is busy
                raise
            time.sleep(0.5)
    sys.exit(f"{url}: it is busy all the time")


def measure_runs(project: Path, python: Path, times: int) -> dict[str, float]:
    """Seconds from a worker's start of a run to its end: `evaluation`, and an `empty` flow's."""
    home = BUILD / "home"
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HOME": str(home), "DATA_URL": "sample", "SATURN_USERNAME": "bench"}
    settings |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    api, command = f"http://127.0.0.1:{port}/api", python.parent / SLUG
    (project / "empty.py").write_text(EMPTY_FLOW)
    entry = "  - {name: empty, entrypoint: 'empty.py:empty_flow', work_pool: {name: " + SLUG + "}}"
    with (project / "prefect.yaml").open("a") as file:
        file.write(f"{entry}\n")

    def measure(name: str) -> float:
        deployment = ask(f"{api}/deployments/name/{name}")["id"]
        run_id = ask(f"{api}/deployments/{deployment}/create_flow_run", {})["id"]
        for _ in range(1200):
            if ask(f"{api}/flow_runs/{run_id}")["end_time"]:
                break
            time.sleep(0.1)
        states = ask(f"{api}/flow_run_states/?flow_run_id={run_id}")
        assert states[-1]["type"] == "COMPLETED", states[-1]
        at = {each["type"]: datetime.fromisoformat(each["timestamp"]) for each in states}
        return (at["COMPLETED"] - at["PENDING"]).total_seconds()

    with ExitStack() as ended:

        def start(*arguments: str | Path) -> None:
            process = subprocess.Popen(
                [command, *arguments],
                env={**os.environ, **settings},
                cwd=project,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            ended.callback(process.wait, 30)
            ended.callback(process.terminate)

        start("server", "--port", str(port))
        for _ in range(240):
            with suppress(OSError):
                ask(f"{api}/health")
                break
            time.sleep(0.5)
        run(command, "register", env={**settings, "PREFECT_API_URL": api})
        start("worker")
        names = {"evaluation": f"bench-{SLUG}/{SLUG}", "empty": "empty-flow/empty"}
        for name in names.values():  # the first run compiles bytecode
            measure(name)
        works = {each: lambda name=name: measure(name) for each, name in names.items()}
        return alternate(times, **works)


def print_rows(rows: list[tuple[str, float, str, float, float]]) -> None:
    """Print what took how long, against what, and whether the ratio is at most the goal."""
    print(f"{'what':<38}{'ms':>8}  {'against':<22}{'ms':>8}  {'ratio':<14}{'goal':<14}met")
    for what, seconds, against, other, goal in rows:
        ratio, wanted = (
            f"{1 / each:.0f} x faster" if each < 1 / 2 else f"{each:.2f} x"
            for each in (seconds / other, goal)
        )
        met = "yes" if seconds / other <= goal else "NO"
        ours, theirs = f"{1e3 * seconds:>8.0f}", f"{1e3 * other:>8.0f}"
        print(f"{what:<38}{ours}  {against:<22}{theirs}  {ratio:<14}{wanted:<14}{met}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed-document", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    for path in (options.seed_document, options.log):
        if not path.is_file():
            parser.error(f"there is no file {path}")

    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    project = Path(
        cookiecutter(str(ROOT), no_input=True, accept_hooks=False, output_dir=str(BUILD))
    )
    print(f"Measuring, {options.times} times in turn ...", file=sys.stderr)
    ours = make_environment("ours", "--require-hashes", "-r", project / "requirements.txt")
    trials = Trials(ours, options.log.resolve(), options.times)
    seconds, steps = trials.against_seed(options.seed_document)
    read, starts = trials.reading(), trials.starts()
    scaffolds = measure_scaffolding(options.times)

    seed, pypackage = seconds["seed"], scaffolds["pypackage"]
    reader = min(READERS, key=lambda name: read[name])
    imports, evaluates = starts["imports"], 100 * starts["evaluate"]
    histories, backfill = trials.history(), trials.backfill()
    runs = measure_runs(project, ours, 2 * options.times)
    print_rows(
        [
            ("a trial, nothing cached but the zip", seconds["cold"], "the seed's", seed, 1 / 25),
            ("a trial, cache warm, no intervals", seconds["plain"], "the seed's", seed, 1 / 130),
            ("a trial, cache warm", seconds["warm"], "the seed's", seed, 1 / 40),
            ("reading the zip", read["ours"], f"inflating it + {reader}", read[reader], 1.0),
            ("`evaluate` as a process, warm", starts["evaluate"], "its two imports", imports, 1.15),
            ("backfill of 100 windows", backfill, "100 x `evaluate`", evaluates, 1 / 10),
            ("`history` of 10,000", histories["history"], "json alone", histories["json"], 2.0),
            ("a quick run, by a worker", runs["evaluation"], "an empty task", runs["empty"], 1.25),
            ("scaffolding", scaffolds["ours"], "pypackage's", pypackage, 1.0),
        ]
    )
    for what, found in (("reading the zip", read), ("scaffolding", scaffolds)):
        print(f"\n{what}, ms: " + ", ".join(f"{name} {1e3 * s:.0f}" for name, s in found.items()))
    whole = statistics.median(sum(step.values()) for step in steps)
    print(f"\nwhere the {1e3 * whole:.0f} ms of a trial as a process go, cache warm:")
    for name in steps[0]:
        print(f"  {name:<40}{1e3 * statistics.median(step[name] for step in steps):>8.1f}")


if __name__ == "__main__":
    main()
