"""Measure how trials of large logs scale (`make bench-scale`).

Makes logs of 10 and 100 times the events of the real one: incidents of a base log, drawn at random
with a seed, each under a number of its own. The base is the log at --log, else the generated
project's sample, which has about as many events. Then all rows are evaluated: on a single machine,
without and with its cache; on a Dask cluster of two local workers, where the generated project has
one; and, the metrics alone, by polars (streaming) and duckdb.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter
from run import BUILD as BENCH
from run import HERE, PACKAGE, ROOT, SLUG, make_environment, run

BUILD = BENCH.with_name("bench-scale")
MEMBER = "incident_event_log.csv"
LARGE = "80000"  # DATA_MAX_MB


def read_base(log: Path | None, python: Path) -> list[bytes]:
    """The lines of the log that others are made from, the header first."""
    if log:
        with zipfile.ZipFile(log) as archive:
            return archive.read(MEMBER).splitlines()
    made = BUILD / "base.csv"
    code = f"from {PACKAGE}.incident_log.sample import make_log; open({str(made)!r}, 'wb')"
    run(python, "-c", f"{code}.write(make_log())")
    return made.read_bytes().splitlines()


def make_log(base: list[bytes], times: int, path: Path) -> int:
    """Write a log of about `times` times the base's events; returns how many it has."""
    if path.exists():
        return sum(part.count(b"\n") for part in iter_parts(path)) - 1
    header, *lines = base
    incidents: dict[bytes, list[bytes]] = {}
    for line in lines:
        number, _, rest = line.partition(b",")
        incidents.setdefault(number, []).append(rest)
    kinds, count = list(incidents.values()), 0
    draw = random.Random(times)
    with path.open("wb") as file:
        file.write(header + b"\n")
        for index in range(times * len(kinds)):
            events = draw.choice(kinds)
            count += len(events)
            file.write(b"".join(b"INC%08d,%s\n" % (index, event) for event in events))
    return count


def iter_parts(path: Path) -> Iterator[bytes]:
    """The content of a file, in parts."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(10_000_000), b"")


def measure(*command: str | Path, env: Mapping[str, str]) -> dict[str, Any]:
    """Run a command that prints JSON; adds the seconds, and the peak memory of each process."""
    start, before = time.perf_counter(), cpu_of_children()
    peaks: dict[int, int] = {}
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        for pid in descendants(process.pid):
            peaks[pid] = max(peaks.get(pid, 0), peak_memory(pid))
        time.sleep(0.05)
    whole, cpu = time.perf_counter() - start, cpu_of_children() - before
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    if process.returncode:
        return {"error": f"exit {process.returncode}: {err.strip().splitlines()[-1:]}"}
    # Helpers that do next to nothing are left out.
    large = sorted((peak for peak in peaks.values() if peak > 100e6), reverse=True)
    return {**json.loads(out.splitlines()[-1]), "whole": whole, "cpu": cpu, "peaks": large}


def cpu_of_children() -> float:
    """Seconds of processor time of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def descendants(pid: int) -> list[int]:
    """A process and all that it has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [each for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in descendants(int(child)))]


def peak_memory(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


def check(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to compare what differs."""
    known = [each for each in results.values() if "error" not in each]
    for each in known:
        assert each["rows"] == known[0]["rows"], results
        for name, value in each["metrics"].items():
            assert math.isclose(value, known[0]["metrics"][name], rel_tol=1e-9), (name, results)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, help="the real log (zip)")
    parser.add_argument("--times", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--keep", action="store_true", help="keep the logs that were made")
    options = parser.parse_args()
    if options.log and not options.log.is_file():
        parser.error(f"there is no file {options.log}")
    BUILD.mkdir(parents=True, exist_ok=True)
    project = BENCH / SLUG
    shutil.rmtree(project, ignore_errors=True)
    cookiecutter(str(ROOT), no_input=True, accept_hooks=False, output_dir=str(BENCH))
    locked = ("--require-hashes", "-r", project / "requirements.txt")
    python, others = (
        make_environment("ours", *locked),
        make_environment("readers", "polars", "duckdb"),
    )
    has_dask = (project / "src" / PACKAGE / "orchestration" / "runner.py").exists()
    if has_dask:
        lock = (project / "requirements.txt").read_text()
        pandas = next(line.split()[0] for line in lock.splitlines() if line.startswith("pandas=="))
        uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
        run(*uv, "distributed", pandas)
    base = read_base(options.log, python)

    print(
        f"{'events':>12}  {'how':<24}{'s':>8}{'CPU s':>8}{'events/s':>12}  peak MB of each process",
        flush=True,
    )
    for times in options.times:
        path = BUILD / f"{times}.csv"
        count = make_log(base, times, path)
        cache = BUILD / f"cache-{times}"
        shutil.rmtree(cache, ignore_errors=True)
        env = {"CACHE_DIR": str(cache), "DATA_MAX_MB": LARGE, "TRIALS_URL": "none"}
        ours = (python, HERE / "scale_trial.py", PACKAGE, path)
        jobs: dict[str, tuple[str | Path, ...]] = {
            "polars, streaming": (others, HERE / "scale_others.py", "polars", path),
            "duckdb": (others, HERE / "scale_others.py", "duckdb", path),
            "single-machine": (*ours, "single"),
            "single-machine, cached": (*ours, "single"),
        }
        if has_dask:
            jobs["dask-task, 2 workers"] = (*ours, "dask")
        results = {}
        for name, command in jobs.items():
            results[name] = found = measure(*command, env=env)
            if "error" in found:
                print(f"{count:>12,}  {name:<24}{found['error']}", flush=True)
                continue
            start = found["seconds"].get("start", 0.0)
            seconds = found["whole"] - start
            peaks = " ".join(f"{peak / 1e6:.0f}" for peak in found["peaks"])
            memory = {step: f" to {each:.0f} MB" for step, each in found.get("memory", {}).items()}
            steps = ", ".join(
                f"{step} {each:.1f} s{memory.get(step, '')}"
                for step, each in found["seconds"].items()
            )
            figures = f"{seconds:>8.1f}{found['cpu']:>8.1f}{count / seconds:>12,.0f}"
            print(f"{count:>12,}  {name:<24}{figures}  {peaks}  ({steps})", flush=True)
        check(results)
        shutil.rmtree(cache, ignore_errors=True)
        if not options.keep:
            path.unlink()


if __name__ == "__main__":
    main()
