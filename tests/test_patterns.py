"""Other models, each laid over a freshly baked project with nothing else edited: tests/patterns.

The README shows them, so what it promises to teams that copy them is tested here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import trial_of
from conftest import existing
from postgres import find_postgres, serve_postgres
from prefect_server import free_port, wait_until
from projects import VARIANTS, Project, bake, lend_environment, own_environment, uv

PATTERNS = Path(__file__).with_name("patterns")
ROWS = Path(__file__).parent / "support" / "pattern_rows.py"
FILES = {
    "euros": "sales.csv",
    "churn": "customers.csv",
    "triage": "requests.csv",
    "triage_probabilities": "requests.csv",
    "forecast": "forecasts.parquet",
    "orders_sql": None,
}
# What only these files import; pinned as `make lock` would do it.
REQUIREMENTS = {"orders_sql": ["psycopg[binary]==3.3.9", "sqlalchemy==2.0.58"]}
JUNE = {"closed_from": "2024-06-01", "closed_to": "2024-07-01"}
WINDOWS = {"forecast": {"closed_last": "24h", "lag": "7d"}}
# What history shows of each: the headers of its numbers.
HEADERS = {
    "euros": ["Houses", "MAE, €", "MAPE, %"],
    "churn": ["Customers", "log loss", "AUC", "Brier"],
    "triage": ["Requests", "accuracy", "macro F1"],
    "triage_probabilities": ["Requests", "log loss", "accuracy"],
    "forecast": ["Forecasts", "MAE, pieces", "WAPE, %"],
    "orders_sql": ["Orders", "MAE, d", "MedAE, d"],
}
OF_TICKETS = re.compile(r"(?<![\w-])(tickets|h|seconds)\b")

FLOW = {
    "3": """
import json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from PACKAGE.orchestration.flow import evaluation_flow

state = evaluation_flow(**json.loads(sys.argv[1]), return_state=True)
with get_client(sync_client=True) as client:
    found = client.read_artifacts(
        flow_run_filter=FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
    )
trial = state.result(raise_on_failure=False)
artifacts = [{"table": json.loads(each.data), "text": each.description} for each in found]
failed = isinstance(trial, Exception)
print(json.dumps({
    "message": state.message, "trial": None if failed else trial, "artifacts": artifacts
}))
""",
    "1": """
import json, sys
from PACKAGE.errors import exit_on_input_error
from PACKAGE.orchestration.flow import run_here

with exit_on_input_error():
    parameters = json.loads(sys.argv[1])
    trial = run_here({name.replace("_", "-"): each for name, each in parameters.items()})
print(json.dumps({"message": trial.sentence, "trial": trial.to_json(), "artifacts": []}))
""",
}


@dataclass(frozen=True)
class Laid:
    """A project of a variant with a pattern's files, and without the default data source.

    Attributes:
        pattern: The folder in tests/patterns.
        variant: The answer `prefect_version`.
        project: The project.
        tools: Where its linters are installed.
        place: Where the rows are: a file, or the address of a database.
        secret: A password in that address, if there is one.
        folder: Its home, its Prefect's home and the cache of the type checker are in here.
    """

    pattern: str
    variant: str
    project: Project
    tools: Path
    place: str
    secret: str | None
    folder: Path

    @property
    def window(self) -> dict[str, str]:
        return WINDOWS.get(self.pattern, JUNE)

    @property
    def environment(self) -> dict[str, str | None]:
        own = {
            "DATA_URL": self.place,
            "MYPY_CACHE_DIR": str(self.folder / "mypy"),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "SATURN_USERNAME": "ann",
        }
        return {**own_environment(self.folder / "home"), **own}

    def run(self, *command: str | Path, **env: str | None) -> subprocess.CompletedProcess[str]:
        return self.project.run(*command, env={**self.environment, **env}, limit=300)

    def command(self, *arguments: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        return self.run(self.project.command, *arguments, **env)

    def python(self, code: str, *arguments: str, **env: str | None) -> Any:
        """What Python code prints as JSON, and its stderr; PACKAGE stands for the package."""
        code = code.replace("PACKAGE", self.project.package)
        result = self.run(self.project.python, "-c", code, *arguments, **env)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout, parse_constant=pytest.fail), result.stderr

    def evaluate(self, *arguments: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        asked = [part for name, value in self.window.items() for part in (option(name), value)]
        return self.command("evaluate", *asked, "--all", *arguments, **env)


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, str | None] | None]:
    """The address of an empty database, whose server is not in UTC, and the password in it.

    None where no PostgreSQL is on this machine.
    """
    programs = find_postgres()
    if programs is None:
        yield None
    else:
        with serve_postgres(programs, "timezone=Asia/Tokyo") as found:
            yield found


@pytest.fixture(
    scope="module", params=[f"{variant}-{name}" for variant in VARIANTS for name in FILES]
)
def laid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Laid:
    """A project with a pattern's files."""
    variant, _, pattern = request.param.partition("-")
    lender = request.getfixturevalue("installed")(*existing(variant))
    shared = tmp_path_factory.getbasetemp() / f"patterns-{variant}"
    shared.mkdir(exist_ok=True)
    folder = tmp_path_factory.mktemp(f"{variant}-{pattern}")
    project = lend_environment(bake(folder, prefect_version=variant), lender)
    lay(pattern, project)
    if pattern in REQUIREMENTS:
        uv("pip", "install", "--quiet", "--python", project.python, *REQUIREMENTS[pattern])
    place, secret = str(folder / str(FILES[pattern])), None
    if FILES[pattern] is None:
        database = request.getfixturevalue("database")
        place, secret = database or (sqlite_in_place_of_postgres(project, folder), None)
    made = Laid(pattern, variant, project, lender.path / ".venv/bin", place, secret, shared)
    result = made.run(project.python, ROWS, "make", pattern, place)
    assert result.returncode == 0, result.stderr
    if (project.path / "scripts").exists():
        result = made.run(project.python, "scripts/train.py", place)
        assert result.returncode == 0, result.stderr
    return made


def lay(pattern: str, project: Project) -> None:
    """Put a pattern's files in place of the project's, and remove what only those used."""
    shutil.rmtree(project.source / "incident_log")
    folders = [PATTERNS / pattern]
    if pattern == "triage_probabilities":
        folders.insert(0, PATTERNS / "triage")  # of the same data
    for file in (file for folder in folders for file in folder.glob("*.py")):
        to = {"test_data_and_model.py": "tests", "train.py": "scripts"}.get(file.name)
        target = project.path / to if to else project.source
        target.mkdir(exist_ok=True)
        shutil.copy(file, target)


def sqlite_in_place_of_postgres(project: Project, folder: Path) -> str:
    data = project.source / "data.py"
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(line for line in lines if "SET TIME ZONE" not in line))
    return f"sqlite:///{folder}/shop.db"


@pytest.fixture(scope="module")
def prefect_3(
    installed: Callable[[str, str], Project], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a Prefect 3 server: quicker than a temporary one in each run."""
    lender, folder = installed(*existing("3")), tmp_path_factory.mktemp("prefect")
    port = str(free_port())
    changes = {**own_environment(folder), "PREFECT_HOME": str(folder / "prefect")}
    merged = {name: value for name, value in {**os.environ, **changes}.items() if value is not None}
    command = [lender.path / ".venv/bin/prefect", "server", "start", "--host", "127.0.0.1"]
    with (folder / "log").open("w+") as log:
        server = subprocess.Popen(
            [*command, "--port", port], env=merged, cwd=folder, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}/api"
            wait_until(lambda: server.poll() is not None or answers(f"{url}/health"), "Prefect")
            assert server.poll() is None, (folder / "log").read_text()
            yield url
        finally:
            server.terminate()
            server.wait(30)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture(scope="module")
def evaluated(laid: Laid) -> tuple[dict[str, Any], str]:
    """The trial of `evaluate` on the pattern's window, and what it logged."""
    result = laid.evaluate()
    trial_of(result)
    return json.loads(result.stdout, parse_constant=pytest.fail), result.stderr


def test_the_projects_tests_pass(laid: Laid):
    result = laid.run(laid.project.python, "-m", "pytest")
    assert result.returncode == 0, result.stdout + result.stderr
    assert not re.search("skipped|failed", result.stdout)


def test_lint_format_types_and_imports_are_clean(laid: Laid):
    """As `make lint`, whose tools are another project's here."""
    python = laid.project.python
    commands = [
        (laid.tools / "ruff", "check", "."),
        (laid.tools / "ruff", "format", "--check", "."),
        (python, "-m", "mypy"),
        (python, laid.tools / "lint-imports", "--no-cache"),
    ]
    for command in commands:
        result = laid.run(*command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_numbers_are_those_of_a_plain_computation(laid: Laid, evaluated):
    trial, _ = evaluated
    ends = [trial["window"][end].removesuffix("Z") for end in ("from", "to")]
    model = laid.project.source / "model.joblib"
    arguments = ("expect", laid.pattern, laid.place, *ends, model)
    expected = json.loads(laid.run(laid.project.python, ROWS, *arguments).stdout)
    assert trial["data"]["num_obs"] == expected["num_obs"] > 30
    assert trial["data"]["metrics"] == approx(expected["metrics"])
    assert trial["data"]["target"] == approx(expected["target"])
    for what in ("baseline", "relative"):
        found = {name: each["value"] for name, each in trial[what].items()}
        assert found == approx(expected[what])
    (segments,) = trial["segments"].values()
    assert segments.keys() == expected["segments"].keys()
    for value, measured in expected["segments"].items():
        assert segments[value]["num_obs"] == measured["num_obs"]
        assert segments[value]["metrics"] == approx(measured["metrics"])


def approx(expected: dict[str, Any]) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_trial_says_what_was_measured(laid: Laid, evaluated):
    trial, log = evaluated
    assert trial["id"] in log
    assert trial["flow"] == "ann-ticket-model-evaluation"
    assert trial["selection"] == {
        **dict.fromkeys(("batch_size", "seed", "closed_last", "lag")),
        **(WINDOWS.get(laid.pattern) or {}),
    }
    names = [header.partition(",")[0] for header in HEADERS[laid.pattern]]
    assert trial["scoring"]["rows"] == names[0].lower()
    assert list(trial["data"]["metrics"]) == list(trial["scoring"]["metrics"]) == names[1:]
    assert list(trial["intervals"]) == list(trial["errors"]) == names[1:]
    assert not OF_TICKETS.search(json.dumps(trial))
    if laid.secret is None and "://" not in laid.place:
        assert trial["source"] == {"data": laid.place}


def test_it_is_shown_in_its_own_words_and_units(laid: Laid, evaluated):
    trial, log = evaluated
    lines = laid.command("history").stdout.splitlines()
    header = next(line for line in lines if line.startswith("Window or created"))
    assert re.split(r"  +", header)[3:] == HEADERS[laid.pattern]
    assert any(trial["id"][:8] in line for line in lines)
    assert f" {HEADERS[laid.pattern][0].lower()} " in log
    assert f"{trial['model']} is " in log
    assert not OF_TICKETS.search("\n".join(lines) + log)


def test_the_flow_makes_the_same_trial(laid: Laid, evaluated, request):
    expected, _ = evaluated
    parameters = json.dumps({**laid.window, "batch_size": None})
    url = request.getfixturevalue("prefect_3") if laid.variant == "3" else None
    found, log = laid.python(FLOW[laid.variant], parameters, PREFECT_API_URL=url)
    trial = found["trial"]
    if laid.pattern != "forecast":  # whose window moves with the time
        assert trial["data"] == expected["data"]
    assert {name: trial[name] for name in ("scoring", "source", "flow", "model")} == {
        name: expected[name] for name in ("scoring", "source", "flow", "model")
    }
    assert found["message"] in log
    assert not OF_TICKETS.search(log.replace(trial["flow"], ""))
    if laid.variant == "3":
        artifacts = {each["text"].partition("  \n")[0]: each for each in found["artifacts"]}
        assert_artifact(artifacts[found["message"]], trial, laid)


def assert_artifact(artifact: dict[str, Any], trial: dict[str, Any], laid: Laid) -> None:
    table = {row["measure"]: row for row in artifact["table"]}
    count, *metrics = HEADERS[laid.pattern]
    assert table[count.lower()]["value"] == trial["data"]["num_obs"]
    for header in metrics:
        name, _, unit = header.partition(", ")
        assert table[name]["value"] == trial["data"]["metrics"][name]
        assert table[name]["shown"].endswith(f" {unit}" if unit else tuple("0123456789"))
    target = trial["scoring"]["target"]
    for name, value in trial["data"]["target"].items():
        assert table[f"actual {target}, {name}"]["value"] == value
    ((column, values),) = trial["segments"].items()
    for value, measured in values.items():
        for name, number in measured["metrics"].items():
            row = table[f"{name}, {column} {value}: {measured['num_obs']:,} rows"]
            assert row["value"] == number
    assert not OF_TICKETS.search(json.dumps(artifact, ensure_ascii=False))
