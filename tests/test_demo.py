"""`make demo`, as the README has it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import existing
from projects import ROOT, bake, find_python, run
from pythons import one_requirement, python_that_says, with_quick_uv, without_uv
from servers.files import Answer, FileServer

from tools import demo as tool


def make_demo(folder: Path, *arguments: str) -> list[str]:
    # These tests run in the tools: make must not look whether they are out of date.
    tools = ("-o", ".venv/.installed")
    place = f"DEMO_DIR={folder}"
    return ["make", "-C", str(ROOT), "--no-print-directory", *tools, "demo", place, *arguments]


@pytest.fixture
def quickly(installed, tmp_path: Path) -> list[str]:
    """Arguments of make for a demo that compiles no packages, which are compiled already."""
    project = installed(*existing("3"))
    run_by = f'PATH="{with_quick_uv(tmp_path, project)}" {sys.executable}'
    return ["DATA=sample", f"RUN={run_by}", f"PYTHON={project.python.resolve()}"]


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that run out of the folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder / "ticket-model-evaluation") in line:
            lines.append(line)
    return lines


def test_it_goes_the_whole_way_and_cleans_up(tmp_path, quickly):
    result = run(*make_demo(tmp_path, *quickly), limit=400)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Completed" in result.stderr
    measured = "the predicted time to close was off by ... hours on average (MAE)."
    *_, sentence, files, browse, _, past, result_of_last, verdict, _, last = (
        result.stdout.splitlines()
    )
    assert re.sub(r"\d+ hours", "... hours", sentence) == (
        f"== On 1,000 tickets of the synthetic sample, {measured}"
    )
    assert str(tmp_path / "ticket-model-evaluation" / "trials") in files
    assert "make demo KEEP=1" in browse
    # Neither the hook's next steps, which the demo takes itself, nor a name that nobody gave.
    assert "Next:" not in result.stdout + result.stderr
    assert "root-" not in result.stdout + result.stderr
    assert past == "== Evaluating the past, window by window"
    assert result_of_last.startswith("MAE ")
    assert "times that of a constant guess" in verdict
    report = tmp_path / "ticket-model-evaluation" / "report.html"
    assert last.endswith(f"did not become worse. The whole history: {report}")
    all_trials = [json.loads(path.read_text()) for path in tmp_path.glob("*/trials/*.json")]
    trials = [trial for trial in all_trials if trial["window"] is None]
    assert [trial["data"]["num_obs"] for trial in trials] == [1000, 1000]
    assert all(trial["id"][:8] in result.stdout for trial in trials)
    windows = [trial for trial in all_trials if trial["window"]]
    assert 40 <= len(windows) <= 61
    errors = [trial["data"]["metrics"]["MAE"] / 3600 for trial in windows]
    assert f"== In {len(windows)} windows the average error was between {min(errors):.0f} " in last
    assert min(errors) < max(errors) / 1.5
    assert max(windows, key=lambda trial: trial["window"]["to"])["id"] in report.read_text()
    assert processes_in(tmp_path) == []
    assert not (Path.home() / ".prefect" / "profiles.toml").exists()


def test_interrupted_it_ends_what_it_started(tmp_path, quickly, make_prefect_home):
    make_prefect_home(tmp_path / "demo" / "prefect")
    log = tmp_path / "log"
    with log.open("w") as output:
        demo = subprocess.Popen(
            make_demo(tmp_path / "demo", *quickly),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 200
    while (
        "Registering the flow" not in log.read_text()
        and demo.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    assert len(processes_in(tmp_path / "demo")) >= 2, log.read_text()
    os.killpg(demo.pid, signal.SIGINT)  # what Ctrl-C sends
    assert demo.wait(60) != 0
    assert "demo: interrupted; everything that it started has been stopped" in log.read_text()
    deadline = time.monotonic() + 20
    while processes_in(tmp_path / "demo") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_in(tmp_path / "demo") == []


@pytest.mark.parametrize("data", ["/nonexistent.zip", "typo"])
def test_data_that_is_not_there_is_told_before_anything_else(tmp_path, data):
    result = run(*make_demo(tmp_path / "demo", f"DATA={data}"))
    assert result.returncode != 0
    assert f"demo: DATA: {data} does not exist; give a path, a URL, or DATA=sample" in result.stderr
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    mine = tmp_path / "ticket-model-evaluation" / "mine"
    mine.parent.mkdir()
    mine.touch()
    result = run(*make_demo(tmp_path, "DATA=sample"))
    assert result.returncode != 0
    assert "no demo made it; choose another folder" in result.stderr
    assert mine.exists()


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        (Answer(b"PK"), ""),
        (Answer(b"PK", sent=0, then="stall"), ""),  # it answers: the project's own limits hold now
        (Answer(b"gone", status=404), "sample"),
        (Answer(b"busy", status=503), "sample"),
        (None, "sample"),
    ],
)
def test_without_data_it_takes_ucis_log_or_where_that_cannot_be_reached_the_sample(
    monkeypatch, capsys, answer, chosen
):
    with FileServer() as server:
        server.answers["/log.zip"] = [answer] if answer else []
        url = f"{server.url}/log.zip"
        monkeypatch.setattr(tool, "UCI", url if answer else "http://127.0.0.1:9/log.zip")
        assert tool.choose_data("") == chosen
    said = capsys.readouterr().out
    assert ("To evaluate a log: make demo DATA=path-or-url" in said) is (chosen == "sample")


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(tool, "UCI", f"http://127.0.0.1:{silent.getsockname()[1]}/log.zip")
        monkeypatch.setattr(tool, "SECONDS_TO_PROBE", 2)
        assert tool.choose_data("") == "sample"
    assert "cannot be reached" in capsys.readouterr().out


def test_it_asks_for_the_log_where_the_project_downloads_it(tmp_path):
    sources = bake(tmp_path).source.rglob("*.py")
    assert any(tool.UCI in path.read_text() for path in sources)
    assert tool.SECONDS_TO_PROBE <= 15


# make, before there is anything.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The template's Makefile, with one locked requirement."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    locked = (ROOT / "requirements-dev.txt").read_text()
    (folder / "requirements-dev.txt").write_text(one_requirement(locked))
    return folder


@pytest.mark.parametrize("version", [0, 310])
def test_a_python_that_will_not_do_is_told_before_anything_is_installed(checkout, version):
    python = python_that_says(checkout, version) if version else "python9"
    result = run("make", "demo", f"PYTHON={python}", cwd=checkout, env={"PATH": without_uv()})
    assert result.returncode != 0
    line, make = result.stderr.splitlines()
    assert line.startswith(f"{python} is not Python 3.11 or newer, which is needed: set PYTHON=")
    assert make.startswith("make: ***")
    assert not (checkout / ".venv").exists()


def test_uv_finds_a_python_in_place_of_one_that_will_not_do(checkout):
    existing("3", "3.13")
    path = f"{find_python('3.13').parent}{os.pathsep}{os.environ['PATH']}"
    result = run("make", ".venv/.installed", "PYTHON=python9", cwd=checkout, env={"PATH": path})
    assert result.returncode == 0, result.stderr
    assert "python9 is not Python 3.11 or newer; uv takes another" in result.stderr
    assert run(checkout / ".venv/bin/python", "-c", "import click").returncode == 0


def test_a_python_newer_than_was_tested_is_tried(checkout):
    python = python_that_says(checkout, 399)
    result = run("make", ".venv/.installed", f"PYTHON={python}", cwd=checkout)
    assert result.returncode == 0, result.stderr
    assert f"{python} is newer than 3.14, the newest Python that was tested" in result.stderr
