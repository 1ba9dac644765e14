"""The post-gen hook as a module, its commands replaced, and what a person reads of it on a terminal."""

from __future__ import annotations

import importlib.util
import os
import pty
import subprocess
import sys
import time

import pytest
from projects import ROOT, VARIANTS

specification = importlib.util.spec_from_file_location(
    "post_gen_project", ROOT / "hooks" / "post_gen_project.py"
)
assert specification is not None
assert specification.loader is not None
hook = importlib.util.module_from_spec(specification)
specification.loader.exec_module(hook)

GIVEN = {"3": {"PREFECT_API_KEY": "k"}, "1": {"PREFECT_USER_TOKEN": "k"}}


@pytest.mark.parametrize("version", ["1", "3"])
@pytest.mark.parametrize(
    ("decision", "given", "answer", "connects"),
    [
        (None, True, None, True),
        (None, False, None, False),
        (None, True, False, True),  # credentials are there: not asked
        (None, False, True, True),
        (None, False, False, False),
        ("never", True, True, False),
        ("auto", True, None, True),
        ("auto", False, True, False),
        ("ask", True, False, False),
        ("ask", True, True, True),
        ("ask", True, None, False),
        ("sometimes", True, True, False),
    ],
)
def test_when_it_connects(version, decision, given, answer, connects, capsys):
    environment = (GIVEN[version] if given else {}) | (
        {"PREFECT_CONNECT": decision} if decision else {}
    )
    ask = None if answer is None else lambda: answer
    assert hook.wants_to_connect(version, environment, ask) is connects
    assert ("none of never, auto, ask" in capsys.readouterr().err) is (decision == "sometimes")


@pytest.mark.parametrize(
    ("codes", "says"), [([2], "could not be installed (2)"), ([0, 124], "not connected (124)")]
)
def test_a_failure_keeps_the_project_and_gives_the_command_that_tries_again(
    tmp_path, capsys, codes, says
):
    run = []

    def runner(command, project):
        run.append((command[2], project))
        return codes[len(run) - 1]

    assert hook.connect(tmp_path, runner) is False
    assert run == [(target, tmp_path) for target in ("setup", "connect")][: len(codes)]
    error = capsys.readouterr().err
    assert says in error
    assert f"cd {tmp_path.name} && make connect" in error
    assert error.count("\n") == 1


def test_hooks_are_run_by_python():
    """cookiecutter runs any other as it is, in a temporary folder, which may be mounted without that right."""
    assert sorted(path.name for path in (ROOT / "hooks").glob("*.*")) == [
        "post_gen_project.py",
        "pre_gen_project.py",
    ]


def test_a_command_never_raises(tmp_path, monkeypatch):
    assert hook.run_command(["false"], tmp_path) == 1
    assert hook.run_command(["no-such-program"], tmp_path) == 127
    monkeypatch.setattr(hook, "LIMIT", 0.2)
    assert hook.run_command(["sleep", "5"], tmp_path) == 124


@pytest.mark.parametrize("version", VARIANTS)
def test_on_a_terminal_it_says_what_it_would_do_and_asks(tmp_path, version):
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "-o", str(tmp_path), str(ROOT)]
    process = subprocess.Popen(
        [*command, f"prefect_version={version}"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        close_fds=True,
    )
    os.close(terminal)
    shown = b""
    deadline = time.monotonic() + 60
    while b"Connect now?" not in shown and time.monotonic() < deadline:
        shown += os.read(controller, 4096)
    os.write(controller, b"n\n")
    while time.monotonic() < deadline:
        try:
            shown += os.read(controller, 4096)
        except OSError:  # the terminal is closed: the process has ended
            break
    assert process.wait(10) == 0
    os.close(controller)
    text = shown.decode()
    assert "installs the locked requirements into ticket-model-evaluation/.venv" in text
    assert "make connect" in text
    assert (tmp_path / "ticket-model-evaluation" / "README.md").exists()
