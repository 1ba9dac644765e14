"""Logging in: keys, tenants, the terminal, and an API in trouble."""

from __future__ import annotations

import stat

import pytest
from site_1 import KEY, Site, fault
from terminal import Terminal


@pytest.mark.parametrize(
    ("kind", "spare", "message"),
    [
        ("429", 0, "answered 429 Client Error: Too Many Requests"),
        ("429", 2, "Prefect: the API answered 429 Client Error: Too Many Requests"),
        ("503", 0, "answered 503 Server Error: Service Unavailable"),
        ("503", 1, "Prefect: no answer within 3 s; raise API_TIMEOUT, or "),
        ("404", 0, "not a Prefect 1 API; Prefect 2 and 3 have none; set it to your own Prefect 1"),
        ("html", 0, "not a Prefect 1 API"),
        ("stall", 0, "no answer within 3 s"),
        ("stall", 1, "Prefect: no answer within 3 s"),
    ],
)
def test_an_api_in_trouble_is_reported_within_a_bounded_time(
    site: Site, kind: str, spare: int, message: str
) -> None:
    before = list(site.api.mutations)
    with fault(site.api, kind, spare):
        line = site.refuses("connect", API_TIMEOUT="3")
    assert message in line
    assert ("PREFECT__CLOUD__API: http://127.0.0.1" in line) == (spare == 0)
    assert site.api.mutations == before


def test_prefect_cloud_of_today_and_secrets_in_an_address(site: Site) -> None:
    line = site.refuses("connect", PREFECT__CLOUD__API="https://u:pw@api.prefect.io/x?token=s")
    assert "https://api.prefect.io/x: today's Prefect Cloud needs Prefect 3; " in line
    assert 'set it to your own Prefect 1 server, or see "Moving to Prefect 3"' in line
    line = site.refuses("connect", PREFECT__CLOUD__API="http://u:pw@127.0.0.1:9/?token=s")
    assert "http://127.0.0.1:9/: the API cannot be reached (Connection refused)" in line
    assert "pw" not in line
    assert "token=s" not in line


def test_settings_of_prefect_may_stand_in_the_env_file(site: Site) -> None:
    file = site.project.path / ".env"
    file.write_text(f"PREFECT__CLOUD__API={site.api.url}\n")
    try:
        result = site.command("connect", PREFECT__CLOUD__API=None)
    finally:
        file.unlink()
    assert result.returncode == 0, result.stderr
    assert f"connected to {site.api.url}, tenant team" in result.stderr


def test_a_key_for_another_tenant_and_a_token_are_told_apart(site: Site) -> None:
    tenants = {row["slug"]: row["id"] for row in site.api.tables["tenant"]}
    line = site.refuses("connect", PREFECT__CLOUD__TENANT_ID=tenants["others"])
    assert "PREFECT__CLOUD__TENANT_ID: the key is not for tenant" in line
    assert "PREFECT__CLOUD__TENANT_ID" in site.refuses("connect", PREFECT__CLOUD__TENANT_ID="mine")
    line = site.refuses("connect", PREFECT_USER_TOKEN="token")
    assert "An API token was used as an API key" in line
    assert "unset one of the two" in site.refuses("connect", PREFECT__CLOUD__API_KEY="other")
    assert "characters that no key has" in site.refuses("connect", PREFECT_USER_TOKEN="a b")
    home = str(site.folder / "other-home")
    line = site.refuses("connect", PREFECT_USER_TOKEN=None, HOME=home)
    assert "PREFECT_USER_TOKEN: not set" in line
    assert "`make connect`" in line
    # A key that is for two tenants, and the one that the environment names.
    env = {"PREFECT_USER_TOKEN": "other", "HOME": home, "PREFECT_CLOUD_PROJECT_NAME": "second"}
    result = site.command("connect", PREFECT__CLOUD__TENANT_ID=tenants["team"], **env)
    assert "tenant team" in result.stderr, result.stderr
    created = [row for row in site.api.tables["project"] if row["name"] == "second"]
    assert [row["tenant_id"] for row in created] == [tenants["team"]]
    assert "tenant team" in site.command("connect", **env).stderr  # which is kept with the log-in
    env["HOME"] = str(site.folder / "third-home")
    assert "tenant others" in site.command("connect", **env).stderr  # the key's own


def test_a_key_is_asked_for_on_a_terminal_and_not_shown(site: Site) -> None:
    home = site.folder / "typed-home"
    env = {**site.env, "PREFECT_USER_TOKEN": "", "HOME": str(home)}
    with Terminal(site.project.command, "connect", env=env, cwd=site.project.path) as terminal:
        terminal.expect(f"API key for {site.api.url}")
        terminal.type(KEY)
        assert terminal.end() == 0, terminal.shown
    assert KEY not in terminal.shown
    assert "connected to" in terminal.shown
    auth = home / ".prefect" / "auth.toml"
    assert KEY in auth.read_text()
    assert stat.S_IMODE(auth.stat().st_mode) == 0o600


def test_an_earlier_log_in_elsewhere_is_kept(site: Site) -> None:
    auth = site.folder / "two-homes" / ".prefect" / "auth.toml"
    auth.parent.mkdir(parents=True)
    auth.write_text('["api.elsewhere"]\napi_key = "theirs"\n')
    auth.chmod(0o644)
    result = site.command("connect", HOME=str(site.folder / "two-homes"))
    assert result.returncode == 0, result.stderr
    assert 'api_key = "theirs"' in auth.read_text()
    assert KEY in auth.read_text()
    assert stat.S_IMODE(auth.stat().st_mode) == 0o600


def test_a_log_in_that_cannot_be_read_is_reported_and_left(site: Site) -> None:
    auth = site.folder / "damaged" / ".prefect" / "auth.toml"
    auth.parent.mkdir(parents=True)
    auth.write_text("= nonsense")
    assert "auth.toml" in site.refuses("connect", HOME=str(site.folder / "damaged"))
    assert auth.read_text() == "= nonsense"


def test_the_name_of_a_deleted_project_is_reported(site: Site) -> None:
    assert site.command("connect", PREFECT_CLOUD_PROJECT_NAME="gone").returncode == 0
    (project,) = (row for row in site.api.tables["project"] if row["name"] == "gone")
    delete = "mutation($input: delete_project_input!) { delete_project(input: $input) { success } }"
    site.query(delete, input={"project_id": project["id"]})
    line = site.refuses("connect", PREFECT_CLOUD_PROJECT_NAME="gone")
    assert "project gone: a deleted project still has this name" in line
    assert "set PREFECT_CLOUD_PROJECT_NAME" in line
