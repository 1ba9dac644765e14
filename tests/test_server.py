"""Variant 3's local server: on a terminal, on any port, and what it leaves alone."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from prefect_server import Prefect, background, wait_until
from slow import SlowLog
from terminal import Terminal

from tools.demo import find_port

KEY = "pnu_0123456789abcdefSECRET"


def test_the_server_command_connects_this_project_and_no_other(prefect: Prefect, another):
    profiles = prefect.home_of(prefect.project) / "profiles.toml"
    assert f'PREFECT_API_URL = "{prefect.url}/api"' in profiles.read_text()
    assert profiles.stat().st_mode & 0o777 == 0o600
    assert not (prefect.home / ".prefect").exists()
    assert (profiles.parent / "prefect.db").exists()
    result = prefect.run("run", project=another(project_slug="other"))
    assert result.returncode == 2
    assert result.stderr.startswith("Error: PREFECT_API_URL: this project is not connected")
    assert "PREFECT_API_KEY" in result.stderr
    assert "make server" in result.stderr
    assert result.stderr.count("\n") == 1


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_on_a_terminal_asks_nothing_and_leaves_the_users_profiles_alone(
    prefect: Prefect, another, tmp_path
):
    # 4200 is what Prefect's profile `local` names, to which it would switch.
    port = 4200 if is_free(4200) else find_port()
    project = another(project_slug="typed")
    mine = tmp_path / ".prefect" / "profiles.toml"
    mine.parent.mkdir()
    mine.write_text('# Mine.\nactive = "work"\n[profiles.work]\nPREFECT_LOGGING_LEVEL = "DEBUG"\n')
    before = mine.read_bytes()
    (project.path / ".venv" / ".installed").touch()
    environment = {**prefect.environment, "HOME": str(tmp_path)}
    command = ("make", "server", f"PORT={port}")
    with Terminal(*command, env=environment, cwd=project.path, limit=150) as terminal:
        terminal.expect(f"Prefect's pages are at http://127.0.0.1:{port}; Ctrl-C stops the server")
        assert "How would you like to proceed?" not in terminal.shown
        assert "Switched to" not in terminal.shown
        terminal.type("\x03")
        terminal.end()
    assert "Traceback" not in terminal.shown
    assert mine.read_bytes() == before
    assert [path.name for path in mine.parent.iterdir()] == ["profiles.toml"]
    assert (tmp_path / ".prefect-typed" / "prefect.db").exists()
    assert is_free(port)


def test_a_taken_port_is_told_in_one_line(prefect: Prefect):
    port = int(prefect.url.rpartition(":")[2])
    result = prefect.run("server", "--port", str(port))
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: port: {port} cannot be used (Address already in use)")
    assert f"`make server PORT={port + 1}`" in result.stderr
    assert f"`PREFECT_API_URL={prefect.url}/api make connect`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_does_not_start_costs_no_log_in(prefect: Prefect, tmp_path):
    home = tmp_path / f".prefect-{prefect.project.slug}"
    home.mkdir()
    profiles = home / "profiles.toml"
    url = "https://api.prefect.cloud/api/accounts/x"
    held = f'PREFECT_API_URL = "{url}"\nPREFECT_API_KEY = "{KEY}"\n'
    profiles.write_text(f'active = "mine"\n[profiles.mine]\n{held}')
    (home / "prefect.db").write_text("this is not a database")
    before = profiles.read_bytes()
    result = prefect.run("server", "--port", str(find_port()), env={"HOME": str(tmp_path)})
    assert result.returncode == 2
    assert "not a database" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: server: it has ended, or did not")
    assert profiles.read_bytes() == before


def test_the_server_stops_while_a_worker_runs_the_flow(
    prefect: Prefect, another, make_prefect_home, slow_log: SlowLog, tmp_path
):
    """It stops at once, and the trial is kept all the same."""
    home = tmp_path / "home"
    make_prefect_home(home / ".prefect-outlived")
    project = another(project_slug="outlived", schedule_hours="0")
    environment = {**prefect.environment, "HOME": str(home)}
    port = find_port()
    log, of_worker = tmp_path / "server.log", tmp_path / "worker.log"
    with ExitStack() as running:
        serve = ("server", "--port", str(port))
        with background(project, log, environment, *serve):
            wait_until(lambda: "Ctrl-C stops" in log.read_text(), "the server")
            assert prefect.run("register", project=project, env=environment).returncode == 0
            running.enter_context(background(project, of_worker, environment, "worker"))
            parameter = f"data={slow_log.address}"
            result = prefect.run("run", "--param", parameter, project=project, env=environment)
            assert result.returncode == 0, result.stderr
            assert slow_log.asked.wait(90)
        slow_log.release.set()
        trials = wait_until(
            lambda: [*(project.path / "trials").glob("*.json")], "the trial", limit=60
        )
        assert [json.loads(trial.read_text())["data"]["num_obs"] for trial in trials] == [1]
        away = prefect.run("run", project=project, env=environment)
        assert (away.returncode, away.stderr.count("\n")) == (2, 1), away.stderr
        assert f"http://127.0.0.1:{port}/api cannot be reached" in away.stderr
