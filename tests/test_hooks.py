"""The post-gen hook as a module, its commands replaced, and what it shows on a terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from projects import ROOT, VARIANTS, run
from terminal import Terminal

specification = importlib.util.spec_from_file_location(
    "post_gen_project", ROOT / "hooks" / "post_gen_project.py"
)
assert specification is not None
assert specification.loader is not None
hook = importlib.util.module_from_spec(specification)
specification.loader.exec_module(hook)

GIVEN = {"3": {"PREFECT_API_KEY": "k"}, "1": {"PREFECT_USER_TOKEN": "k"}}
KEY = "pnu_0123456789"
# In place of the minutes that make takes: notes what it was asked for, and with which key.
MAKE = """#!/bin/sh
echo "make: $*, key: ${PREFECT_API_KEY:-$PREFECT_USER_TOKEN}" >> "$MAKE_LOG"
exit "${MAKE_CODE:-0}"
"""


@pytest.mark.parametrize("version", ["1", "3"])
@pytest.mark.parametrize(
    ("connect", "given", "on_terminal", "decision"),
    [
        (None, True, False, "connect"),
        (None, True, True, "connect"),  # credentials are there: not asked
        (None, False, False, "never"),
        (None, False, True, "ask"),
        ("never", True, True, "never"),
        ("auto", True, False, "connect"),
        ("auto", False, True, "never"),
        ("ask", True, True, "ask"),
        ("ask", False, True, "ask"),
        ("ask", True, False, "never"),
        ("sometimes", True, True, "never"),
    ],
)
def test_when_it_connects(version, connect, given, on_terminal, decision, capsys):
    environment = (GIVEN[version] if given else {}) | (
        {"PREFECT_CONNECT": connect} if connect else {}
    )
    assert hook.decide(version, environment, on_terminal) == decision
    said = capsys.readouterr().err
    assert ("must be never, auto or ask, not 'sometimes'" in said) is (connect == "sometimes")


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ([2], "could not be installed (exit code 2)"),
        ([127], "could not be installed (make was not found)"),
        ([0, 124], "not connected (exit code 124)"),
    ],
)
def test_a_failure_keeps_the_project_and_gives_the_command_that_tries_again(
    tmp_path, capsys, codes, says
):
    called = []

    def runner(command, project, extra):
        called.append((command[2], project, extra))
        return codes[len(called) - 1]

    assert hook.connect(tmp_path, {"PREFECT_API_KEY": KEY}, runner) is False
    targets = ("setup", "connect")[: len(codes)]
    assert called == [(target, tmp_path, {"PREFECT_API_KEY": KEY}) for target in targets]
    error = capsys.readouterr().err
    assert says in error
    assert f"cd {tmp_path.name} && make connect" in error
    assert error.count("\n") == 1
    assert KEY not in error


def test_a_folder_that_cannot_be_written_to_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root may write everywhere
    assert hook.connect(str(tmp_path), {}, lambda *_: pytest.fail("it has run")) is False
    assert capsys.readouterr().err == (
        f"The project is complete, but {tmp_path.name} cannot be written to. "
        f"To try again: cd {tmp_path.name} && make connect\n"
    )


def test_hooks_are_run_by_python():
    """cookiecutter runs others as they are, in a folder that may be mounted without that right."""
    assert [path.name for path in (ROOT / "hooks").glob("*.*")] == ["post_gen_project.py"]


def test_a_command_never_raises(tmp_path, monkeypatch):
    assert hook.run_command(["false"], tmp_path, {}) == 1
    assert hook.run_command(["sh", "-c", "exit $CODE"], tmp_path, {"CODE": "3"}) == 3
    assert hook.run_command(["no-such-program"], tmp_path, {}) == 127
    monkeypatch.setattr(hook, "LIMIT", 0.2)
    assert hook.run_command(["sleep", "5"], tmp_path, {}) == 124


@pytest.mark.parametrize("lacking", [">&- 2>&-", "| true", ">/dev/full 2>/dev/full", "<&-"])
def test_the_project_stays_where_nothing_can_be_said_or_asked(tmp_path, lacking):
    command = f"cookiecutter --no-input -o '{tmp_path}' '{ROOT}' {lacking}"
    run("bash", "-c", command, env={"PREFECT_CONNECT": "ask"})
    assert (tmp_path / "ticket-model-evaluation" / "README.md").exists()


class Scaffolding:
    """cookiecutter on a terminal, with a `make` that only says what it was asked for."""

    def __init__(self, folder: Path, version: str, code: int = 0, **environment: str) -> None:
        self.project = folder / "ticket-model-evaluation"
        self.log = folder / "make.log"
        fake = folder / "bin" / "make"
        fake.parent.mkdir()
        fake.write_text(MAKE)
        fake.chmod(0o755)
        environment |= {"MAKE_LOG": str(self.log), "MAKE_CODE": str(code)}
        environment["PATH"] = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "-o", folder, ROOT]
        self.terminal = Terminal(*command, f"prefect_version={version}", env=environment)

    def made(self) -> list[str]:
        python = f"PYTHON={sys.executable}"
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [
            line.replace("--no-print-directory ", "").replace(f" {python}", "") for line in lines
        ]

    def end(self) -> str:
        """The text that was shown, once it has ended well with a whole project."""
        with self.terminal:
            assert self.terminal.end() == 0, self.terminal.shown
        assert (self.project / "README.md").exists()
        assert "Traceback" not in self.terminal.shown
        return self.terminal.shown


@pytest.mark.parametrize("version", VARIANTS)
def test_on_a_terminal_it_says_what_connecting_costs_and_asks(tmp_path, version):
    scaffolding = Scaffolding(tmp_path, version)
    scaffolding.terminal.expect("Connect now? [y/N] ")
    scaffolding.terminal.type("n")
    shown = scaffolding.end()
    assert "locked requirements into ticket-model-evaluation/.venv (about 900 MB)" in shown
    assert "make connect" in shown
    assert ("make server" in shown) is (version == "3")
    assert scaffolding.made() == []


@pytest.mark.parametrize("version", VARIANTS)
def test_it_asks_for_a_key_before_anything_is_installed_and_shows_it_nowhere(tmp_path, version):
    scaffolding = Scaffolding(tmp_path, version)
    scaffolding.terminal.expect("Connect now?")
    scaffolding.terminal.type("y")
    scaffolding.terminal.expect("(hidden)")
    assert scaffolding.made() == []
    scaffolding.terminal.type(KEY)
    shown = scaffolding.end()
    assert scaffolding.made() == [f"make: setup, key: {KEY}", f"make: connect, key: {KEY}"]
    assert KEY not in shown
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]
    assert holders == [scaffolding.log]
    assert "make connect" not in shown  # among the next steps, as it has been done


@pytest.mark.parametrize(
    ("version", "says"),
    [("3", "run `make server` in a second terminal"), ("1", "PREFECT_USER_TOKEN")],
)
def test_without_a_key_nothing_is_installed_and_it_says_what_to_run(tmp_path, version, says):
    scaffolding = Scaffolding(tmp_path, version)
    scaffolding.terminal.expect("Connect now?")
    scaffolding.terminal.type("yes")
    scaffolding.terminal.expect("(hidden)")
    scaffolding.terminal.type("")
    scaffolding.terminal.expect(says)
    scaffolding.end()
    assert scaffolding.made() == []


def test_credentials_in_the_environment_are_not_asked_for(tmp_path):
    scaffolding = Scaffolding(tmp_path, "3", PREFECT_API_KEY=KEY, PREFECT_CONNECT="ask")
    scaffolding.terminal.expect("Connect now?")
    scaffolding.terminal.type("y")
    assert "(hidden)" not in scaffolding.end()
    assert scaffolding.made() == [f"make: setup, key: {KEY}", f"make: connect, key: {KEY}"]


def test_an_installation_that_fails_leaves_the_project_and_one_line(tmp_path):
    scaffolding = Scaffolding(tmp_path, "3", code=2, PREFECT_API_KEY=KEY)
    shown = scaffolding.end()
    assert shown.count("The project is complete, but its requirements could not be installed") == 1
    assert "Next:" in shown


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (["\x04"], "Not connecting, as the input has ended."),
        (["y", "\x04"], "Not connecting, as the input has ended."),
        (["\x03"], "The project is complete, but the hook stopped (interrupted)"),
        (["y", "\x03"], "The project is complete, but the hook stopped (interrupted)"),
    ],
)
def test_the_end_of_the_input_and_ctrl_c_are_one_line_and_no_failure(tmp_path, answers, says):
    script = tmp_path / "hook.py"
    source = Path(hook.__file__).read_text()
    script.write_text(source.replace("<< cookiecutter.prefect_version >>", "3"))
    with Terminal(sys.executable, script, cwd=tmp_path) as terminal:
        for question, answer in zip(("Connect now?", "(hidden)"), answers, strict=False):
            terminal.expect(question)
            terminal.type(answer)
        assert terminal.end() == 0
    assert says in terminal.shown
    assert "Traceback" not in terminal.shown


def test_after_ctrl_c_the_project_stays(tmp_path):
    """cookiecutter is interrupted too, and may end before the hook has said so."""
    scaffolding = Scaffolding(tmp_path, "3")
    with scaffolding.terminal as terminal:
        terminal.expect("Connect now?")
        terminal.type("\x03")
        terminal.end()
    assert "Traceback" not in terminal.shown
    assert (scaffolding.project / "README.md").exists()
    assert scaffolding.made() == []
