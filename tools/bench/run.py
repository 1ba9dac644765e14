"""Measure what the design promises of speed, side by side in one run (`make bench SEED=... LOG=...`).

What is compared alternates, so that a machine that is busy for a while is so for both; medians are shown.
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
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BUILD = ROOT / "build" / "bench"
PACKAGE = "ticket_model_evaluation"
NOW = time.perf_counter


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


def uv(*arguments: str | Path) -> None:
    """Run the uv of the template's tools."""
    run(sys.executable, "-m", "uv", *arguments)


def make_environment(name: str, *packages: str | Path) -> Path:
    """Make a virtual environment with bytecode for all of its packages; returns its Python."""
    folder = BUILD / name
    uv("venv", "--quiet", "--clear", "--python", sys.executable, folder)
    uv(
        "pip",
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        folder / "bin" / "python",
        *packages,
    )
    return folder / "bin" / "python"


def alternate(times: int, **works: Callable[[], float | list[float]]) -> dict[str, float]:
    """Measure each in turn, `times` times; medians of seconds."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            seconds = work()
            found[name] += seconds if isinstance(seconds, list) else [seconds]
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def timed(*command: str | Path, env: Mapping[str, str] | None = None) -> float:
    """How many seconds a process takes."""
    start = NOW()
    run(*command, env=env)
    return NOW() - start


def scaffold(template: Path) -> float:
    """How many seconds it takes to generate a project with all defaults, as a process."""
    with tempfile.TemporaryDirectory() as folder:
        command = (
            sys.executable,
            "-m",
            "cookiecutter",
            template,
            "--no-input",
            "--output-dir",
            folder,
        )
        return timed(*command, env={"HOME": folder, "PREFECT_CONNECT": "never"})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed-document", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    log = options.log.resolve()
    for path in (options.seed_document, log):
        if not path.is_file():
            parser.error(f"there is no file {path}")

    print("Making the environments ...", file=sys.stderr)
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=str(BUILD)))
    ours = make_environment("ours", "--require-hashes", "-r", project / "requirements.txt")
    uv(
        "pip",
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        ours,
        "--no-deps",
        "-e",
        project,
    )
    seeds = make_environment("seeds", "pandas<3", "numpy", "requests", "scikit-learn")
    readers = make_environment("readers", "pyarrow", "polars", "duckdb")
    pypackage = make_environment("pypackage", "cookiecutter-pypackage")
    template = next(
        pypackage.parents[1].glob("lib/*/site-packages/cookiecutter_pypackage/template")
    )
    empty = BUILD / "empty"
    (empty / "{{cookiecutter.name}}").mkdir(parents=True)
    (empty / "cookiecutter.json").write_text('{"name": "empty"}')

    print(f"Measuring, {options.times} times in turn ...", file=sys.stderr)
    warm, cold = BUILD / "warm", BUILD / "cold"
    steps: list[dict[str, float]] = []

    def seed_trial() -> float:
        return float(run(seeds, HERE / "seed_trial.py", options.seed_document, log))

    def trial(cache: Path) -> float:
        start = NOW()
        told = json.loads(
            run(ours, HERE / "project_trial.py", PACKAGE, log, env={"CACHE_DIR": str(cache)})
        )
        if cache == warm:
            rest = NOW() - start - sum(told["steps"].values())
            steps.append({**told["steps"], "the rest: start and end of Python, ...": rest})
        else:
            shutil.rmtree(cold)
        return float(told["seconds"])

    def reading(python: Path, library: str) -> list[float]:
        return list(json.loads(run(python, HERE / "read_zip.py", library, log)))

    def evaluate() -> float:
        with tempfile.TemporaryDirectory() as trials:
            command = (
                ours.parent / "ticket-model-evaluation",
                "evaluate",
                "--data",
                log,
                "--trials",
                trials,
            )
            return timed(*command, env={"CACHE_DIR": str(warm)})

    trial(warm)  # fills the cache
    steps.clear()
    trials = alternate(
        options.times, seed=seed_trial, cold=lambda: trial(cold), warm=lambda: trial(warm)
    )
    read = alternate(
        options.times,
        ours=lambda: reading(ours, PACKAGE),
        inflate=lambda: reading(readers, "inflate"),
        pyarrow=lambda: reading(readers, "pyarrow"),
        polars=lambda: reading(readers, "polars"),
        duckdb=lambda: reading(readers, "duckdb"),
    )
    starts = alternate(
        options.times,
        evaluate=evaluate,
        imports=lambda: timed(ours, "-c", "import pandas, sklearn.metrics"),
    )
    scaffolds = alternate(
        4
        * options.times,  # it takes a fraction of a second, and so little more than the machine's other work
        ours=lambda: scaffold(ROOT),
        pypackage=lambda: scaffold(template),
        empty=lambda: scaffold(empty),
    )

    fastest = min(("pyarrow", "polars", "duckdb"), key=lambda name: read[name])
    rows = [
        (
            "a trial, nothing cached but the zip",
            trials["cold"],
            "the seed's code",
            trials["seed"],
            1 / 20,
        ),
        (
            "a trial, cache warm, no intervals",
            trials["warm"],
            "the seed's code",
            trials["seed"],
            1 / 100,
        ),
        ("reading the zip", read["ours"], f"inflating it + {fastest}", read[fastest], 1.5),
        (
            "`evaluate` as a process, warm",
            starts["evaluate"],
            "its two imports",
            starts["imports"],
            1.3,
        ),
        (
            "scaffolding without connecting",
            scaffolds["ours"],
            "pypackage's",
            scaffolds["pypackage"],
            1.0,
        ),
    ]
    print(f"{'what':<38}{'ms':>8}  {'against':<22}{'ms':>8}  {'ratio':<14}{'goal':<14}met")
    for what, seconds, against, other, goal in rows:
        ratios = [
            f"{1 / r:.0f} x faster" if r < 0.5 else f"{r:.2f} x" for r in (seconds / other, goal)
        ]
        met = "yes" if seconds / other <= goal else "NO"
        print(
            f"{what:<38}{1e3 * seconds:>8.0f}  {against:<22}{1e3 * other:>8.0f}  {ratios[0]:<14}{ratios[1]:<14}{met}"
        )
    print(
        "\nreading the zip, ms: "
        + ", ".join(f"{name} {1e3 * seconds:.0f}" for name, seconds in read.items())
    )
    print(
        "scaffolding, ms: "
        + ", ".join(f"{name} {1e3 * seconds:.0f}" for name, seconds in scaffolds.items())
    )
    whole = statistics.median(sum(step.values()) for step in steps)
    print(f"\nwhere the {1e3 * whole:.0f} ms of a trial as a process go, cache warm:")
    for name in steps[0]:
        print(f"  {name:<40}{1e3 * statistics.median(step[name] for step in steps):>8.1f}")


if __name__ == "__main__":
    main()
