"""Variant 3's connection: the hook, the log-in, where a key goes and where it is kept."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from conftest import existing
from prefect_server import (
    Prefect,
    background,
    wait_until,
    watched_arguments,
)
from projects import ROOT, Project, run
from pythons import with_quick_uv
from servers.prefect_cloud import PrefectCloud, Recorder
from slow import OtherApi
from terminal import Terminal

from tools.demo import find_port

KEY = "pnu_0123456789abcdefSECRET"
REFUSED = (
    r"PREFECT_API_KEY: .* refuses it \(401\); set a valid one and run `make connect` again; "
    r"Prefect Cloud's begin with pnu_ or pnb_ \(pcu_: Prefect Cloud 1, which is closed\)"
)


def profile_of_the_user(home: Path, url: str, **settings: str) -> Path:
    """A log-in of the user's own, active in their own Prefect home; gives its file."""
    (home / ".prefect").mkdir(parents=True, exist_ok=True)
    file = home / ".prefect" / "profiles.toml"
    lines = {"PREFECT_API_URL": url, "PREFECT_API_KEY": KEY, **settings}
    held = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    file.write_text(f'# Mine.\nactive = "mine"\n\n[profiles.mine]\n{held}')
    return file


def test_connecting_again_changes_nothing_and_says_so(prefect: Prefect):
    profiles = prefect.home_of(prefect.project) / "profiles.toml"
    before = profiles.read_bytes(), prefect.get("/work_pools/filter", {})
    result = prefect.run("connect")
    assert result.returncode == 0, result.stderr
    assert "already exists" in result.stderr
    assert "as before" in result.stderr
    assert (profiles.read_bytes(), prefect.get("/work_pools/filter", {})) == before


def test_prefects_own_commands_in_the_folder_use_the_projects_connection(
    prefect: Prefect, another, tmp_path
):
    """And the user's own log-in neither changes nor is used, whatever is run."""
    project = another(project_slug="plain")
    home = tmp_path / "home"
    with Recorder(prefect.url) as theirs:
        mine = profile_of_the_user(home, f"{theirs.url}/api")
        before = mine.read_bytes()
        environment = {"HOME": str(home), "PREFECT_API_URL": prefect.url + "/api"}
        assert prefect.run("connect", project=project, env=environment).returncode == 0
        environment = {**prefect.environment, "HOME": str(home)}
        command = (project.python, "-m", "prefect", "work-pool", "inspect", "plain")
        typed = project.run(*command, env=environment)
        assert typed.returncode == 0, typed.stderr
        assert "name='plain'" in typed.stdout
        elsewhere = project.run(*command, env=environment, cwd=tmp_path)
        assert "name='plain'" in elsewhere.stdout  # their own server: the recorder
        assert theirs.requests
    assert mine.read_bytes() == before
    assert sorted(path.name for path in home.glob(".prefect*")) == [".prefect", ".prefect-plain"]
    assert (home / ".prefect-plain").stat().st_mode & 0o777 == 0o700
    assert (home / ".prefect-plain" / "profiles.toml").stat().st_mode & 0o777 == 0o600
    assert project.run("git", "init", "-q").returncode == 0
    assert "prefect.toml" not in project.run("git", "status", "--porcelain", "-uall").stdout


def test_an_exported_prefect_home_wins_and_other_profiles_in_it_stay(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="housed")
    house = tmp_path / "house"
    house.mkdir()
    mine = '# Mine.\n[profiles.other]\n# Why.\nPREFECT_API_URL = "http://other"\nUNKNOWN = "1"\n'
    old = '[profiles.project-housed]\nPREFECT_API_KEY = "old"\n'
    (house / "profiles.toml").write_text(f'active = "other"\n{mine}{old}')
    environment = {"HOME": str(tmp_path), "PREFECT_HOME": str(house)}
    connecting = {**environment, "PREFECT_API_URL": prefect.url + "/api"}
    assert prefect.run("connect", project=project, env=connecting).returncode == 0
    kept = (house / "profiles.toml").read_text()
    assert mine in kept
    assert "old" not in kept
    assert f'PREFECT_API_URL = "{prefect.url}/api"' in kept
    assert not (tmp_path / ".prefect-housed").exists()
    again = prefect.run("connect", project=project, env=environment)
    assert "as before" in again.stderr


# The hook.


def scaffold(prefect: Prefect, folder: Path, environment: dict[str, str], **answers: str):
    arguments = [f"{name}={value}" for name, value in answers.items()]
    path = with_quick_uv(folder, prefect.installed(*existing("3")))
    env = {**prefect.environment, **environment, "PATH": path}
    return run("cookiecutter", "--no-input", "-o", folder, ROOT, *arguments, env=env, limit=300)


def test_the_hook_connects_where_the_environment_names_an_api(prefect: Prefect, tmp_path):
    environment = {"PREFECT_API_URL": prefect.url + "/api"}
    result = scaffold(prefect, tmp_path, environment, project_slug="hooked")
    assert result.returncode == 0, result.stderr
    assert "work pool (process) created" in result.stderr
    assert "make connect" not in result.stdout
    assert prefect.get("/work_pools/hooked")["type"] == "process"
    project = Project(tmp_path / "hooked", "hooked", "hooked")
    assert f"{prefect.url}/api" in (prefect.home_of(project) / "profiles.toml").read_text()
    assert prefect.run("connect", project=project).returncode == 0


def test_the_hook_never_costs_anyone_their_project(prefect: Prefect, tmp_path):
    environment = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    result = scaffold(prefect, tmp_path, environment, project_slug="kept")
    assert result.returncode == 0
    assert "Error: PREFECT_API_URL: http://127.0.0.1:9/api cannot be reached" in result.stderr
    assert "The project is complete, but it is not connected" in result.stderr
    assert "cd kept && make connect" in result.stderr
    assert (tmp_path / "kept" / "src" / "kept" / "orchestration" / "flow.py").exists()


# Where a key goes, and where it is kept.


def test_a_key_is_nowhere_but_in_the_projects_prefect_home(prefect: Prefect, tmp_path):
    with PrefectCloud(prefect.url, KEY, ["acme/evaluations"]) as cloud:
        environment = {"PREFECT_API_KEY": KEY, "PREFECT_CLOUD_API_URL": cloud.url + "/api"}
        with watched_arguments() as seen:
            result = scaffold(prefect, tmp_path, environment, project_slug="secretive")
            project = Project(tmp_path / "secretive", "secretive", "secretive")
            environment.pop("PREFECT_API_KEY")
            registering = prefect.run("register", project=project, env=environment)
    assert result.returncode == 0, result.stderr
    assert registering.returncode == 0, registering.stderr
    assert any(b"secretive" in line for line in seen)
    assert not [line for line in seen if KEY.encode() in line]
    assert KEY not in result.stdout + result.stderr + registering.stdout + registering.stderr
    holders = [
        path
        for folder in (tmp_path, prefect.home)
        for path in folder.rglob("*")
        if path.is_file() and ".venv" not in path.parts and KEY.encode() in path.read_bytes()
    ]
    assert holders == [prefect.home_of(project) / "profiles.toml"]
    assert holders[0].stat().st_mode & 0o777 == 0o600
    assert list((prefect.home / ".cookiecutter_replay").iterdir())  # it was looked through


def test_no_key_of_an_active_profile_reaches_another_server_from_any_folder(
    prefect: Prefect, another, tmp_path
):
    """A user is logged in to Prefect Cloud; the project is connected to a local server."""
    project = another(project_slug="local-only")
    home = tmp_path / "home"
    cloud = "https://api.prefect.cloud/api/accounts/x"
    mine = profile_of_the_user(home, cloud, PREFECT_API_AUTH_STRING=f"admin:{KEY}")
    before = mine.read_bytes()
    with Recorder(prefect.url) as recorder:
        environment = {"HOME": str(home), "PREFECT_API_URL": recorder.url + "/api"}
        connected = prefect.run("connect", project=project, env=environment, cwd=tmp_path)
        assert connected.returncode == 0, connected.stderr
        environment["PREFECT_API_URL"] = None
        for folder in (project.path, home):
            for command in (("connect",), ("register",), ("run",), ("unregister",)):
                result = prefect.run(*command, project=project, env=environment, cwd=folder)
                assert result.returncode == 0, result.stderr
        flow = (project.python, "-m", f"{project.package}.orchestration.flow")
        result = project.run(*flow, env={**prefect.environment, **environment}, cwd=home)
        assert result.returncode == 0, result.stderr
        log = tmp_path / "worker.log"
        with background(project, log, {**prefect.environment, **environment}, "worker"):
            wait_until(lambda: "started!" in log.read_text(), "the worker")
        sent = list(recorder.requests)
    assert len(sent) > 20
    assert any("worker" in path for _, path, _ in sent)
    for _, path, headers in sent:
        assert "Authorization" not in headers, path
        assert KEY not in str(headers), path
    assert mine.read_bytes() == before


def test_a_key_goes_nowhere_but_to_prefect_cloud_or_where_the_environment_says(
    prefect: Prefect, another, tmp_path
):
    """Neither the current folder nor the user's profile says where Prefect Cloud is."""
    project = another(project_slug="careful")
    home, folder = tmp_path / "home", tmp_path / "folder"
    folder.mkdir()
    with Recorder(prefect.url) as recorder, PrefectCloud(prefect.url, KEY, ["acme/a"]) as cloud:
        (folder / "prefect.toml").write_text(f'[cloud]\napi_url = "{recorder.url}/api"\n')
        headers = json.dumps({"X-Mine": KEY})
        url = f"{recorder.url}/api"
        profile_of_the_user(home, url, PREFECT_CLIENT_CUSTOM_HEADERS=headers)
        environment = {
            "HOME": str(home),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment, cwd=folder)
        assert result.returncode == 0, result.stderr
        assert not any("X-Mine" in headers for _, _, headers in cloud.requests)
        assert recorder.requests == []


def test_a_flow_without_a_connection_runs_on_a_server_of_its_own(
    prefect: Prefect, another, make_prefect_home, tmp_path
):
    """Whatever profile is active elsewhere, and whatever the current folder says."""
    project = another(project_slug="alone")
    make_prefect_home(tmp_path / ".prefect-alone")
    folder = tmp_path / "folder"
    folder.mkdir()
    with Recorder(prefect.url) as recorder:
        profile_of_the_user(tmp_path, f"{recorder.url}/api")
        (folder / "prefect.toml").write_text(f'[api]\nurl = "{recorder.url}/api"\n')
        flow = (project.python, "-m", "alone.orchestration.flow")
        environment = {**prefect.environment, "HOME": str(tmp_path)}
        result = project.run(*flow, env=environment, cwd=folder, limit=240)
        assert result.returncode == 0, result.stderr
        assert recorder.requests == []
    begin, *lines = result.stderr.splitlines()
    assert begin == "No connection to Prefect: starting a temporary server for this run ..."
    assert [line for line in lines if " | INFO    | " not in line] == []
    assert "Finished in state Completed" in lines[-1]


def test_a_flow_that_is_interrupted_ends_soon_and_so_does_its_server(
    prefect: Prefect, another, make_prefect_home, tmp_path
):
    """Ctrl-C reaches all processes of the terminal, but the run needs its server to the end."""
    project = another(project_slug="stopped")
    make_prefect_home(tmp_path / ".prefect-stopped")
    log = tmp_path / "log"
    flow = (project.python, "-m", "stopped.orchestration.flow")
    environment = {**prefect.environment, "HOME": str(tmp_path)}
    with background(project, log, environment, command=flow) as process:
        wait_until(lambda: "Beginning flow run" in log.read_text(), "the run")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 1, log.read_text()
    assert "Aborted!" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert str(project.python) not in run("ps", "-ewwo", "args").stdout


def test_a_temporary_server_that_does_not_start_says_why(prefect: Prefect, another, tmp_path):
    project = another(project_slug="broken")
    home = tmp_path / ".prefect-broken"
    home.mkdir()
    (home / "prefect.db").write_text("no database")
    flow = (project.python, "-m", "broken.orchestration.flow")
    result = project.run(*flow, env={**prefect.environment, "HOME": str(tmp_path)})
    assert result.returncode == 2, result.stderr
    begin, *messages, last = result.stderr.splitlines()
    assert begin.startswith("No connection to Prefect: starting a temporary server")
    assert "file is not a database" in "".join(messages)
    assert last.startswith("Error: server: it has ended, or did not answer in time; see its own")


def test_a_flow_whose_server_is_down_says_so_in_one_line(prefect: Prefect, another, tmp_path):
    project = another(project_slug="stranded")
    home = tmp_path / ".prefect-stranded"
    home.mkdir()
    url = f"http://127.0.0.1:{find_port()}/api"
    (home / "profiles.toml").write_text(f'active="a"\n[profiles.a]\nPREFECT_API_URL = "{url}"\n')
    flow = (project.python, "-m", "stranded.orchestration.flow")
    result = project.run(*flow, env={**prefect.environment, "HOME": str(tmp_path)})
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith(f"Error: PREFECT_API_URL: {url} cannot be reached")


SHOW_CONNECTION = """
from filed.orchestration.connection import find_connection
connection = find_connection()
print(connection.url, connection.key + connection.auth_string)
"""


@pytest.mark.parametrize(("address", "kept"), [("http://here/api", "k"), ("http://other/api", "")])
@pytest.mark.parametrize("name", ["PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"])
def test_a_secret_in_the_env_file_is_for_the_address_there(
    prefect: Prefect, another, tmp_path, name, address, kept
):
    project = another(project_slug="filed")
    (project.path / ".env").write_text(f"PREFECT_API_URL=http://here/api\n{name}=k\n")
    environment = {**prefect.environment, "HOME": str(tmp_path), "PREFECT_API_URL": address}
    result = prefect.run(project=project, code=SHOW_CONNECTION, env=environment)
    assert result.stdout == f"{address} {kept}\n", result.stderr


# Logging in.


@pytest.mark.parametrize(
    ("workspaces", "key", "wanted", "message"),
    [
        (["acme/a"], "pnu_wrong", None, REFUSED),
        (["acme/a"], "pcu_old", None, REFUSED),
        (["acme/a"], "hunter2", None, REFUSED),
        ([], KEY, None, "PREFECT_WORKSPACE: the key can see no workspaces; create one"),
        (
            ["acme/a", "acme/b"],
            KEY,
            None,
            "PREFECT_WORKSPACE: the key can see 2 workspaces; set it to one of acme/a, acme/b",
        ),
        (
            ["acme/a"],
            KEY,
            "acme/z",
            "PREFECT_WORKSPACE: the key cannot see acme/z; set it to one of acme/a",
        ),
        (["acme/a", "acme/b"], KEY, "acme/b", None),
        (["acme/a"], KEY, None, None),
    ],
)
def test_logging_in_to_prefect_cloud(prefect: Prefect, tmp_path, workspaces, key, wanted, message):
    profiles = tmp_path / f".prefect-{prefect.project.slug}" / "profiles.toml"
    with PrefectCloud(prefect.url, KEY, workspaces) as cloud:
        environment = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": key,
        }
        result = prefect.run("connect", env={**environment, "PREFECT_WORKSPACE": wanted})
        assert key not in result.stderr
        if message:
            assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
            assert re.match(f"Error: {message}", result.stderr.strip())
            assert not profiles.exists()
            return
        assert result.returncode == 0, result.stderr
        _, workspace_id = cloud.workspaces[wanted or "acme/a"]
        assert workspace_id in profiles.read_text()
        later = prefect.run("connect", env={**environment, "PREFECT_API_KEY": None})
        assert later.returncode == 0, later.stderr
        assert "as before" in later.stderr


def test_a_key_is_asked_for_on_a_terminal_and_not_shown(prefect: Prefect, another, tmp_path):
    project = another(project_slug="asked")
    with PrefectCloud(prefect.url, KEY, ["acme/a", "acme/b"]) as cloud:
        environment = {
            **prefect.environment,
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
        }
        with Terminal(project.command, "connect", env=environment) as terminal:
            terminal.expect(
                "Paste your Prefect Cloud API key, or press Enter and run `make server`"
            )
            terminal.type(KEY)
            terminal.expect("Workspace (acme/a, acme/b)")
            terminal.type("acme/b")
            assert terminal.end() == 0, terminal.shown
        with Terminal(project.command, "connect", env={**environment, "HOME": "/nowhere"}) as enter:
            enter.expect("Paste your Prefect Cloud API key")
            enter.type("")
            assert enter.end() == 2
    assert KEY not in terminal.shown
    assert cloud.workspaces["acme/b"][1] in terminal.shown
    assert "Error: PREFECT_API_URL: this project is not connected to Prefect" in enter.shown


def test_an_existing_log_in_is_used_where_the_user_names_its_profile(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="borrower")
    with PrefectCloud(prefect.url, KEY, ["acme/a"]) as cloud:
        account, workspace = cloud.workspaces["acme/a"]
        url = f"{cloud.url}/api/accounts/{account}/workspaces/{workspace}"
        mine = profile_of_the_user(tmp_path, url)
        before = mine.read_bytes()
        environment = {"HOME": str(tmp_path), "PREFECT_CLOUD_API_URL": cloud.url + "/api"}
        unasked = prefect.run("connect", project=project, env=environment)
        assert (unasked.returncode, cloud.requests) == (2, [])
        wrong = {**environment, "PREFECT_PROFILE": "other"}
        unknown = prefect.run("connect", project=project, env=wrong)
        assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1), unknown.stderr
        assert "PREFECT_PROFILE: the profile 'other' holds no PREFECT_API_URL" in unknown.stderr
        mine_named = {**environment, "PREFECT_PROFILE": "mine"}
        named = prefect.run("connect", project=project, env=mine_named)
        assert named.returncode == 0, named.stderr
        later = prefect.run("connect", project=project, env=environment)
        assert later.returncode == 0, later.stderr
        assert "as before" in later.stderr
    assert mine.read_bytes() == before


def test_from_a_local_server_a_key_leads_to_prefect_cloud(prefect: Prefect, another, tmp_path):
    project = another(project_slug="moving")
    local = {"HOME": str(tmp_path), "PREFECT_API_URL": prefect.url + "/api"}
    assert prefect.run("connect", project=project, env=local).returncode == 0
    with PrefectCloud(prefect.url, KEY, ["acme/a"]) as cloud:
        environment = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": cloud.url + "/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment)
        assert result.returncode == 0, result.stderr
        assert cloud.workspaces["acme/a"][1] in result.stderr


# What else may answer, or not.


def test_what_answers_in_the_place_of_prefect_cloud_is_told_in_one_line(
    prefect: Prefect, another, tmp_path
):
    project = another(project_slug="captive")
    with OtherApi() as other:
        environment = {
            "HOME": str(tmp_path),
            "PREFECT_CLOUD_API_URL": f"{other.url}/page/api",
            "PREFECT_API_KEY": KEY,
        }
        result = prefect.run("connect", project=project, env=environment)
    assert result.returncode == 2
    assert f"{other.url}/page/api does not answer as Prefect" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("stalls", "does not answer within 3 s; try again later"),
        ("drips", "does not answer within 3 s; try again later"),
        ("prefect-2", "is Prefect 2.20.3; this project needs Prefect 3"),
        ("prefect-1", "for Prefect 1's API generate the project with prefect_version=1"),
        ("page", "does not answer as Prefect 3's API does"),
        ("unreachable", "cannot be reached (All connection attempts failed)"),
        ("unavailable", "does not answer within 3 s; try again later"),
    ],
)
def test_an_api_that_will_not_do_is_told_in_one_line_within_limits(
    prefect: Prefect, tmp_path, kind, message
):
    with OtherApi() as other:
        url = "http://127.0.0.1:9" if kind == "unreachable" else other.url
        limits = "connection", "SECONDS_TO_ANSWER=3"
        env = {"HOME": str(tmp_path), "PREFECT_API_URL": f"{url}/{kind}/api"}
        result = prefect.run("connect", env=env, limits=limits, limit=30)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob(".prefect-*/profiles.toml"))


def run_anew(prefect: Prefect, environment: dict[str, str]):
    """Run `connect` in a process that imports Prefect, which then reads its settings."""
    environment = {**prefect.environment, **environment}
    return prefect.project.run(prefect.project.command, "connect", env=environment)


@pytest.mark.parametrize(
    ("profiles", "variables", "reason"),
    [
        ("this is not TOML", {}, "at line 1"),
        ("profiles = 3", {}, "'int' object"),
        ("[profiles]\na = 3", {}, "settings: "),
        (None, {}, "Is a directory"),
        ("", {"PREFECT_API_REQUEST_TIMEOUT": "soon"}, "request_timeout: "),
        ("", {"PREFECT_LOGGING_LEVEL": "bogus"}, "level: "),
        ("", {"PREFECT_CLIENT_CUSTOM_HEADERS": "notjson"}, '"custom_headers"'),
        ("", {"PREFECT_SERVER_EPHEMERAL_ENABLED": "x"}, "enabled: "),
    ],
)
def test_settings_that_prefect_cannot_read_are_told_in_one_line(
    prefect: Prefect, tmp_path, profiles, variables, reason
):
    file = tmp_path / f".prefect-{prefect.project.slug}" / "profiles.toml"
    if profiles is None:
        file.mkdir(parents=True)
    else:
        file.parent.mkdir()
        file.write_text(profiles)
    result = run_anew(prefect, {"HOME": str(tmp_path), **variables})
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith("Error: Prefect cannot read its settings")
    assert reason in result.stderr
    assert f"look into {file}" in result.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"SSL_CERT_FILE": "/nonexistent"}, "No such file or directory"),
        ({"ALL_PROXY": f"socks5://ann:{KEY}@127.0.0.1:9"}, "SOCKS proxy"),
        ({"ALL_PROXY": f"odd://ann:{KEY}@127.0.0.1:9"}, "Unknown scheme"),
    ],
)
def test_a_certificate_or_a_proxy_that_cannot_be_used_is_told_in_one_line(
    prefect: Prefect, tmp_path, variables, reason
):
    environment = {"HOME": str(tmp_path), "PREFECT_API_URL": prefect.url + "/api", **variables}
    result = run_anew(prefect, environment)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith("Error: SSL_CERT_FILE, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: ")
    assert reason in result.stderr
    assert KEY not in result.stderr


@pytest.mark.parametrize("command", ["connect", "register", "run", "unregister", "worker"])
def test_what_knows_prefects_version_and_nothing_else_is_told_in_one_line(
    prefect: Prefect, tmp_path, command
):
    with OtherApi("version-only") as other:
        environment = {"HOME": str(tmp_path), "PREFECT_API_URL": f"{other.url}/api"}
        result = prefect.run(command, env=environment)
    assert result.returncode == 2, result.stderr
    assert "does not answer as Prefect 3's API does" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_password_in_the_address_is_shown_by_no_command(prefect: Prefect, another, tmp_path):
    project = another(project_slug="addressed", schedule_hours="0")
    url = prefect.url.replace("://", f"://ann:{KEY}@") + "/api"
    environment = {"HOME": str(tmp_path), "PREFECT_API_URL": url}
    for command in ("connect", "register", "run", "unregister", "run"):
        result = prefect.run(command, project=project, env=environment)
        assert KEY not in result.stdout + result.stderr
    assert result.returncode == 2  # by now it is not registered
    broken = {**environment, "PREFECT_API_URL": f"http://ann:{KEY[:5]}/{KEY[5:]}@127.0.0.1/api"}
    result = prefect.run("connect", project=project, env=broken)
    assert result.returncode == 2
    assert "PREFECT_API_URL: http://... is not a valid address" in result.stderr
    assert KEY[:5] not in result.stderr
    assert KEY[5:] not in result.stderr


@pytest.mark.parametrize(
    ("address", "exported", "kept"),
    [
        ("http://here/api", False, ""),
        ("http://here/api", True, "k"),
        ("https://api.prefect.cloud/api/accounts/x", False, "k"),
    ],
)
def test_an_exported_key_does_not_go_to_the_address_in_the_env_file(
    prefect: Prefect, another, tmp_path, address, exported, kept
):
    """Unless the address is exported as well, or is Prefect Cloud's."""
    project = another(project_slug="filed")
    (project.path / ".env").write_text(f"PREFECT_API_URL={address}\n")
    environment = {**prefect.environment, "HOME": str(tmp_path), "PREFECT_API_KEY": "k"}
    if exported:
        environment["PREFECT_API_URL"] = address
    result = prefect.run(project=project, code=SHOW_CONNECTION, env=environment)
    assert result.stdout == f"{address} {kept}\n", result.stderr
