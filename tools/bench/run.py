"""Measure the speed that the design promises, side by side (`make bench SEED=... LOG=...`).

What is compared alternates, so that a machine that is busy for a while is so for both; medians are
shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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

    def trial(self, cache: Path) -> tuple[float, dict[str, float]]:
        """Seconds of a trial, and of each step of its process."""
        start = time.perf_counter()
        command = (self.python, HERE / "project_trial.py", PACKAGE, self.log)
        told = json.loads(run(*command, env={"CACHE_DIR": str(cache)}))
        steps = told["steps"]
        rest = time.perf_counter() - start - sum(steps.values())
        return told["seconds"], {**steps, "the rest: start and end of Python, ...": rest}

    def against_seed(self, document: Path) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Seconds of the `seed`'s trial and of ours, `cold` and `warm`; the steps of the warm."""
        seeds = make_environment("seeds", "pandas<3", "numpy", "requests", "scikit-learn")
        steps: list[dict[str, float]] = []

        def cold() -> float:
            with tempfile.TemporaryDirectory(dir=BUILD) as cache:
                return self.trial(Path(cache))[0]

        def warm() -> float:
            seconds, parts = self.trial(BUILD / "warm")
            steps.append(parts)
            return seconds

        self.trial(BUILD / "warm")  # fills the cache
        seed = (seeds, HERE / "seed_trial.py", document, self.log)
        found = alternate(self.times, seed=lambda: float(run(*seed)), cold=cold, warm=warm)
        return found, steps

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
    imports = starts["imports"]
    print_rows(
        [
            ("a trial, nothing cached but the zip", seconds["cold"], "the seed's", seed, 1 / 25),
            ("a trial, cache warm, no intervals", seconds["warm"], "the seed's", seed, 1 / 130),
            ("reading the zip", read["ours"], f"inflating it + {reader}", read[reader], 1.0),
            ("`evaluate` as a process, warm", starts["evaluate"], "its two imports", imports, 1.15),
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
