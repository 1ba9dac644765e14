"""Other models, each laid over a freshly baked project with nothing else edited: tests/patterns.

The README shows them, so what it promises to teams that copy them is tested here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from chromium import find_chromium, look
from commands import Prefork, assert_refused, trial_of
from conftest import existing
from postgres import find_postgres, serve_postgres
from prefect_server import background, wait_until
from projects import (
    OF_EVALUATION,
    Project,
    bake,
    full_environment,
    lend_environment,
    own_environment,
    own_tests,
    uv,
)
from test_generated import cache_folder

from tools.demo import find_port

PATTERNS = Path(__file__).with_name("patterns")
ROWS = Path(__file__).parent / "support" / "pattern_rows.py"
# Each pattern, and the file of its rows; None: a table of a database.
FILES = {
    "euros": "sales.csv",
    "churn": "customers.csv",
    "triage": "requests.csv",
    "triage_probabilities": "requests.csv",
    "forecast": "forecasts.parquet",
    "orders_sql": None,
}
# What only these files import; pinned, as `make lock` does it.
REQUIREMENTS = {"orders_sql": ["psycopg[binary]==3.3.9", "sqlalchemy==2.0.58"]}
JUNE = {"closed_from": "2024-06-01", "closed_to": "2024-07-01"}
WINDOWS = {"forecast": {"closed_last": "24h", "lag": "7d"}}
# What each is shown with: what a row is, and the metrics.
HEADERS = {
    "euros": ["Houses", "MAE, €", "MAPE, %"],
    "churn": ["Customers", "log loss", "AUC", "Brier"],
    "triage": ["Requests", "accuracy", "macro F1"],
    "triage_probabilities": ["Requests", "log loss", "accuracy"],
    "forecast": ["Forecasts", "MAE, pieces", "WAPE, %"],
    "orders_sql": ["Orders", "MAE, d", "MedAE, d"],
}
# What is kept of its predictions beside what came true, and the marks that show it.
OUTCOMES = {
    **{pattern: {"numbers": "point"} for pattern in FILES},
    "churn": {"probabilities": "point"},
    "triage": {"classes": "rect mark"},
    "triage_probabilities": {"probabilities": "point", "classes": "rect mark"},
}
# Tests of statistics, which import nothing but them.
OF_STATISTICS = ("intervals", "gate", "outcomes", "selection")
DRAWN = ("euros", "churn", "triage", "triage_probabilities")  # others show what these show
# What takes long to import.
IMPORTS = (
    "pandas",
    "pyarrow",
    "sklearn.metrics",
    "sklearn.ensemble",
    "altair",
    "joblib",
    "prefect",
)
OF_TICKETS = re.compile(r"(?<![\w-])(tickets|h|seconds)\b")

FLOW = {
    "3": """
import json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from PACKAGE.orchestration.flow import TASKS, evaluation_flow

for task in TASKS.values():
    task.retries = 0  # they would wait for minutes
state = evaluation_flow(**json.loads(sys.argv[1]), return_state=True)
with get_client(sync_client=True) as client:
    found = client.read_artifacts(
        flow_run_filter=FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
    )
artifacts = [{"table": json.loads(each.data), "text": each.description} for each in found]
print(json.dumps({"message": state.message, "trial": state.result(), "artifacts": artifacts}))
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
    """A project with a pattern's files, and without the default data source.

    Attributes:
        pattern: The folder in tests/patterns.
        variant: The answer `prefect_version`.
        project: The project.
        lender: Another project, with an environment of the same packages, and the linters.
        place: Where the rows are: a file, or the address of a database.
        secret: The password in that address; None without one.
        shared: Folder that holds the home of a variant's projects.
        types_cache: A variable that names the type checker's cache.
    """

    pattern: str
    variant: str
    project: Project
    lender: Project
    place: str
    secret: str | None
    shared: Path
    types_cache: dict[str, str]
    prefork: Prefork

    @property
    def window(self) -> dict[str, str]:
        return WINDOWS.get(self.pattern, JUNE)

    @property
    def parameters(self) -> str:
        """Of the flow, as JSON: all rows of the window."""
        return json.dumps({**self.window, "batch_size": None})

    def environment(self, **env: str | None) -> dict[str, str | None]:
        own = {
            "DATA_URL": self.place,
            **self.types_cache,
            "PRE_COMMIT_HOME": cache_folder(),
            "SATURN_USERNAME": "ann",
        }
        home = self.shared / "home"
        home.mkdir(exist_ok=True)
        return {**own_environment(home), **own, **env}

    def run(self, *command: str | Path, **env: str | None) -> subprocess.CompletedProcess[str]:
        return self.project.run(*command, env=self.environment(**env), limit=300)

    def command(
        self, *arguments: str | Path, code: str = "", **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, or Python code in its place, quickly."""
        where = {"cwd": self.project.path, "project": self.project}
        merged = full_environment(self.environment(**env))
        return self.prefork.run(arguments, merged, code=code, limit=300, **where)

    def evaluate(self, **env: str | None) -> subprocess.CompletedProcess[str]:
        options = {f"--{name.replace('_', '-')}": value for name, value in self.window.items()}
        return self.command(
            "evaluate", "--all", *(x for pair in options.items() for x in pair), **env
        )

    def code(self, code: str, *arguments: Any, by: Project | None = None, **env: str | None):
        """Run Python code, in which PACKAGE stands for the package."""
        code = code.replace("PACKAGE", self.project.package)
        if by:
            return self.run(by.python, "-c", code, *arguments, **env)
        return self.command(*arguments, code=code, **env)

    def ask(self, *code: Any, **options: Any) -> tuple[Any, str]:
        """What such code prints as JSON in its last line, and what it logs."""
        result = self.code(*code, **options)
        assert result.returncode == 0, result.stdout + result.stderr
        *log, answer = result.stdout.splitlines()
        return json.loads(answer, parse_constant=pytest.fail), "\n".join([*log, result.stderr])

    @cached_property
    def evaluated(self) -> tuple[dict[str, Any], str]:
        """The trial that `evaluate` prints for the pattern's window, and what it logs."""
        result = self.evaluate()
        trial_of(result)
        return json.loads(result.stdout, parse_constant=pytest.fail), result.stderr


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, str] | None]:
    """The address of a database whose server is not in UTC, and the password in that address.

    None where no PostgreSQL is on this machine.
    """
    programs = find_postgres()
    if programs is None:
        yield None
        return
    with serve_postgres(programs, "timezone=Asia/Tokyo") as found:
        yield found


@pytest.fixture(scope="module")
def lay_over(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Laid]]:
    """Make a project of a variant with a pattern's files, once for all tests."""
    stack = ExitStack()

    @cache
    def prefork(lender: Project) -> Prefork:
        started = Prefork(lender, *IMPORTS)
        stack.callback(started.close)
        return started

    @cache
    def make(variant: str, pattern: str) -> Laid:
        lender = request.getfixturevalue("installed")(*existing(variant))
        shared = tmp_path_factory.getbasetemp() / f"patterns-{variant}"
        (shared / "home").mkdir(parents=True, exist_ok=True)
        folder = tmp_path_factory.mktemp(f"{variant}-{pattern}")
        project = lend_environment(bake(folder, prefect_version=variant), lender)
        lay(pattern, project)
        if pattern in REQUIREMENTS:
            uv("pip", "install", "--quiet", "--python", project.python, *REQUIREMENTS[pattern])
        place, secret = f"{folder}/{FILES[pattern]}", None
        if FILES[pattern] is None:
            found = request.getfixturevalue("database")
            place, secret = found or (use_sqlite(project), None)
        types = request.getfixturevalue("types_cache")(variant)
        own = (project, lender, place, secret, shared, types, prefork(lender))
        laid = Laid(pattern, variant, *own)
        steps = [(ROWS, "make", pattern, place), ("scripts/train.py", place)]
        for script, *arguments in steps if (project.path / "scripts").exists() else steps[:1]:
            result = laid.run(project.python, script, *arguments)
            assert result.returncode == 0, result.stderr
        return laid

    with stack:
        yield make


def lay(pattern: str, project: Project) -> None:
    """Put a pattern's files in place of the project's, and remove the default data source."""
    shutil.rmtree(project.source / "incident_log")
    folders = [PATTERNS / pattern]
    if pattern == "triage_probabilities":
        folders.insert(0, PATTERNS / "triage")  # of the same data
    for file in (file for folder in folders for file in folder.glob("*.py")):
        elsewhere = {"test_data_and_model.py": "tests", "train.py": "scripts"}.get(file.name)
        target = project.path / elsewhere if elsewhere else project.source
        target.mkdir(exist_ok=True)
        shutil.copy(file, target)


def use_sqlite(project: Project) -> str:
    """Leave out what only PostgreSQL knows; returns the address of an SQLite database."""
    data = project.source / "data.py"
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(line for line in lines if "SET TIME ZONE" not in line))
    return f"sqlite:///{project.path.parent}/shop.db"


# What knows no Prefect is the same in both variants: see test_generated.
IN_3 = [("3", pattern) for pattern in FILES]


@pytest.fixture(params=IN_3, ids="-".join)
def laid(request: pytest.FixtureRequest, lay_over: Callable[[str, str], Laid]) -> Laid:
    """Each pattern, laid over a project of variant 3, or of the variants that a test names."""
    return lay_over(*request.param)


in_1_too = pytest.mark.parametrize(
    "laid",
    [*IN_3, ("1", "churn")],  # which has a challenger
    indirect=True,
    ids="-".join,
)


@pytest.fixture(scope="module")
def prefect_3(
    installed: Callable[[str, str], Project],
    make_prefect_home: Callable[[Path], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path]]:
    """The address of a Prefect 3 server, quicker than a temporary one in each run; its folder."""
    lender, folder = installed(*existing("3")), tmp_path_factory.mktemp("prefect")
    make_prefect_home(folder / "prefect")
    port = str(find_port())
    own = own_environment(folder) | {"PREFECT_HOME": str(folder / "prefect")}
    command = (lender.path / ".venv/bin/prefect", "server", "start", "--host", "127.0.0.1")
    log = folder / "log"
    with background(lender, log, own, "--port", port, command=command) as server:
        url = f"http://127.0.0.1:{port}/api"
        wait_until(lambda: server.poll() is not None or answers(f"{url}/health"), "Prefect")
        assert server.poll() is None, log.read_text()
        yield url, folder


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Callable[[str], dict[str, str]]:
    """By variant, what the environment says of Prefect's API; variant 1 runs without one."""
    return lambda variant: (
        {"PREFECT_API_URL": request.getfixturevalue("prefect_3")[0]} if variant == "3" else {}
    )


# All of them.


@in_1_too
def test_the_projects_tests_pass(laid: Laid):
    # What reads no file of the team's own is run for one pattern, and what knows no Prefect once.
    is_first = (laid.pattern, laid.variant) == ("euros", "3")
    left_out = OF_STATISTICS if is_first else ("commands", *OF_EVALUATION)
    result = laid.run(laid.project.python, *own_tests(*left_out))
    assert result.returncode == 0, result.stdout + result.stderr
    assert not re.search("skipped|failed", result.stdout)


@in_1_too
def test_lint_format_types_and_imports_are_clean(laid: Laid):
    """As `make lint`; the tools themselves are in the lender's environment."""
    python, tools = laid.project.python, laid.lender.path / ".venv/bin"
    for command in (
        (tools / "ruff", "check", "."),
        (tools / "ruff", "format", "--check", "."),
        (python, "-m", "mypy"),
        (python, tools / "lint-imports", "--no-cache"),
    ):
        result = laid.run(*command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_the_numbers_are_those_of_a_plain_computation(laid: Laid):
    trial, _ = laid.evaluated
    ends = [trial["window"][end].removesuffix("Z") for end in ("from", "to")]
    model = laid.project.source / "model.joblib"
    arguments = ("expect", laid.pattern, laid.place, *ends, model)
    expected = json.loads(laid.command(*arguments, code=ROWS.read_text()).stdout)
    assert trial["data"]["num_obs"] == expected["num_obs"] > 30
    assert trial["data"]["metrics"] == close_to(expected["metrics"])
    assert trial["data"]["target"] == close_to(expected["target"])
    for what in ("baseline", "relative"):
        found = {name: each["value"] for name, each in trial[what].items()}
        assert found == close_to(expected[what])
    (segments,) = trial["segments"].values()
    assert segments.keys() == expected["segments"].keys()
    for value, measured in expected["segments"].items():
        assert segments[value]["num_obs"] == measured["num_obs"]
        assert segments[value]["metrics"] == close_to(measured["metrics"])


def close_to(expected: dict[str, Any]) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_trial_says_what_was_measured(laid: Laid):
    trial, log = laid.evaluated
    assert trial["id"] in log
    assert trial["flow"] == "ann-ticket-model-evaluation"
    asked = dict.fromkeys(("batch_size", "seed", "closed_last", "lag"))
    assert trial["selection"] == {**asked, **WINDOWS.get(laid.pattern, {})}
    rows, *metrics = (header.partition(",")[0] for header in HEADERS[laid.pattern])
    assert trial["scoring"]["rows"] == rows.lower()
    assert list(trial["data"]["metrics"]) == list(trial["scoring"]["metrics"]) == metrics
    assert list(trial["intervals"]) == list(trial["errors"]) == metrics
    for name, (low, high) in trial["intervals"].items():
        assert low <= trial["data"]["metrics"][name] <= high
    if "://" not in laid.place:
        assert trial["source"] == {"data": laid.place}
    assert not OF_TICKETS.search(json.dumps(trial))


def test_it_is_shown_in_its_own_words_and_units(laid: Laid):
    trial, log = laid.evaluated
    lines = laid.command("history").stdout.splitlines()
    header = next(line for line in lines if line.startswith("Window or created"))
    assert re.split(r"  +", header)[3:] == HEADERS[laid.pattern]
    assert any(trial["id"][:8] in line for line in lines)
    assert f" {trial['scoring']['rows']} " in log
    assert f"{trial['model']} is " in log
    assert not OF_TICKETS.search("\n".join(lines) + log)


def test_the_report_shows_the_trial(laid: Laid, tmp_path: Path):
    trial, _ = laid.evaluated
    path = tmp_path / "page.html"
    result = laid.command("report", "--out", str(path))
    assert (result.returncode, result.stdout) == (0, f"{path}\n"), result.stderr
    page = path.read_text(encoding="utf-8")
    shown = OUTCOMES[laid.pattern]
    assert list(trial["outcomes"]) == list(shown)
    if "numbers" in shown:
        assert sum(trial["outcomes"]["numbers"]["rows"]) == trial["data"]["num_obs"]
    if "classes" in shown:
        assert sum(map(sum, trial["outcomes"]["classes"]["counts"])) == trial["data"]["num_obs"]
    for text in (trial["id"], trial["model"], HEADERS[laid.pattern][1].partition(",")[0]):
        assert text in page
    assert page.count("as a table</summary>") == 3 + len(shown)
    assert not OF_TICKETS.search(page[: page.index("</main>")])
    if laid.pattern in DRAWN and (program := find_chromium()):
        charts = look(program, page, 390, tmp_path)["charts"]
        assert len(charts) == 3 + len(shown)
        for found, kind in zip(charts, ["point", "point", "bar", *shown.values()], strict=True):
            assert found[kind] >= 1


def test_backfill_makes_the_same_trial(laid: Laid, tmp_path: Path):
    expected, _ = laid.evaluated
    start, end = (expected["window"][name] for name in ("from", "to"))
    every = f"{(datetime.fromisoformat(end) - datetime.fromisoformat(start)).days}d"
    options = ("--from", start, "--to", end, "--every", every, "--all")
    result = laid.command("backfill", *options, TRIALS_URL=str(tmp_path))
    assert result.returncode == 0, result.stderr
    kept = laid.command("history", "--json", TRIALS_URL=str(tmp_path)).stdout.splitlines()
    (trial,) = (each for each in map(json.loads, kept) if each["difference"] is None)
    assert [trial[name] for name in ("data", "window", "model")] == [
        expected[name] for name in ("data", "window", "model")
    ]
    assert not OF_TICKETS.search(result.stdout + result.stderr)


@in_1_too
def test_the_flow_makes_the_same_trial(laid: Laid, api):
    expected, _ = laid.evaluated
    found, log = laid.ask(FLOW[laid.variant], laid.parameters, **api(laid.variant))
    trial = found["trial"]
    if laid.pattern != "forecast":  # whose window moves with the time
        assert trial["data"] == expected["data"]
    same = ("scoring", "source", "flow", "model", "selection")
    assert [trial[name] for name in same] == [expected[name] for name in same]
    assert found["message"] in log
    assert not OF_TICKETS.search(log)
    if laid.variant == "3":
        artifacts = {each["text"].partition("  \n")[0]: each for each in found["artifacts"]}
        assert_artifact(artifacts[found["message"]], trial)


def assert_artifact(artifact: dict[str, Any], trial: dict[str, Any]) -> None:
    table = {row["measure"]: row for row in artifact["table"]}
    scoring = trial["scoring"]
    assert table[scoring["rows"]]["value"] == trial["data"]["num_obs"]
    for name, value in trial["data"]["metrics"].items():
        unit = (scoring["metrics"][name]["unit"] or {}).get("symbol")
        assert table[name]["value"] == value
        assert table[name]["shown"].endswith(f" {unit}" if unit else tuple("0123456789"))
        assert " to " in table[name]["95 % interval"]
    for name, value in trial["data"]["target"].items():
        assert table[f"actual {scoring['target']}, {name}"]["value"] == value
    ((column, segments),) = trial["segments"].items()
    for value, measured in segments.items():
        for name, number in measured["metrics"].items():
            count = f"{measured['num_obs']:,} {scoring['rows']}"
            assert table[f"{name}, {column} {value}: {count}"]["value"] == number
    assert not OF_TICKETS.search(json.dumps(artifact, ensure_ascii=False))


# Batches as they may come, made from a pattern's own rows; the trial of each.
ODD = """
import json, os
import pandas as pd
from PACKAGE import data, metrics, pipeline
from PACKAGE.evaluation.selection import make_selection

selection = make_selection(os.environ["DATA_URL"], batch_size=None)
rows = data.get_ticket_data_batch(selection)
target = data.get_target(rows)
texts = rows.select_dtypes(exclude=["number", "datetime", "datetimetz", "bool"]).columns
texts = [column for column in texts if not column.endswith("_at") and column != "sold_on"]
odd = {
    "one row": rows.head(1),
    "one value": rows[target == target.iloc[0]],
    "never seen": rows.head(30).assign(**dict.fromkeys(texts, "never seen")),
    "missing": rows.head(30).assign(**dict.fromkeys({*texts} - {"team"}, None)),
    "perfect": rows,
}
trials = {}
for name, batch in odd.items():
    if name == "perfect":
        classes = metrics.SCORING.classes
        pipeline.predict = data.get_target if classes is None else (
            lambda df: pd.get_dummies(data.get_target(df))[list(classes)] * 1.0
        )
    trials[name] = pipeline.evaluate_batch(batch, selection, "flow")[0].to_json()
print(json.dumps(trials, allow_nan=False))
"""
UNDEFINED = {
    ("churn", "one row"): {"AUC"},
    ("churn", "one value"): {"AUC"},
    ("triage_probabilities", "never seen"): {"log loss"},
}


def test_odd_batches_are_measured_as_far_as_they_can_be(laid: Laid):
    trials, _ = laid.ask(ODD)
    for name, trial in trials.items():
        found = trial["data"]["metrics"]
        undefined = {metric for metric, value in found.items() if value is None}
        assert undefined == UNDEFINED.get((laid.pattern, name), set()), name
    assert trials["one row"]["data"]["num_obs"] == 1
    assert set(trials["one row"]["intervals"].values()) == {None}
    perfect = trials["perfect"]
    for metric, measured in perfect["scoring"]["metrics"].items():
        assert perfect["data"]["metrics"][metric] == pytest.approx(measured["best"], abs=1e-9)
        assert perfect["relative"][metric]["value"] in (None, pytest.approx(0.0, abs=1e-9))
    for name in ("never seen", "missing"):
        assert [[*segments] for segments in trials[name]["segments"].values()] == [[name]]


# Some of them.

FROM_A_CLONE = """
import json, sys
from prefect.flows import load_flow_from_entrypoint
evaluation_flow = load_flow_from_entrypoint(sys.argv[2] + ":evaluation_flow")
print(json.dumps([evaluation_flow(**json.loads(sys.argv[1])), sys.modules["PACKAGE"].__file__]))
"""
PICKLE = """
import sys
import cloudpickle
from PACKAGE.orchestration.flow import flow
cloudpickle.register_pickle_by_value(sys.modules["PACKAGE"])
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump(flow, file)
"""
FROM_A_PICKLE = """
import json, sys
import cloudpickle
sys.modules["PACKAGE"] = None  # it cannot be imported
with open(sys.argv[2], "rb") as file:
    flow = cloudpickle.load(file)
parameters = {name.replace("_", "-"): each for name, each in json.loads(sys.argv[1]).items()}
state = flow.run(parameters=parameters, run_on_schedule=False)
assert state.is_successful(), state.message
print(json.dumps(state.result[flow.get_tasks(name="get_trial_summary")[0]].result.to_json()))
"""


def test_a_file_of_a_trained_model_goes_into_git(lay_over):
    trained = lay_over("3", "euros")
    assert (trained.project.source / "model.joblib").stat().st_size > 900_000
    for command in ("git init -q", "git add -A", "pre-commit run check-added-large-files"):
        result = trained.run(*command.split())
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_trained_model_runs_from_a_clone(lay_over, api, tmp_path: Path):
    """In an environment where another checkout of the package is installed."""
    trained = lay_over("3", "euros")
    author = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    for command in (
        ("init", "-q"),
        ("add", "-A"),
        (*author, "commit", "-q", "-m", "Train", "--allow-empty"),
        ("clone", "-q", ".", tmp_path / "clone"),
    ):
        assert trained.run("git", *command).returncode == 0
    source = tmp_path / "clone" / "src" / trained.project.package
    path = source / "orchestration" / "flow.py"
    (trial, package), _ = trained.ask(
        FROM_A_CLONE, trained.parameters, path, by=trained.lender, **api("3")
    )
    assert package == str(source / "__init__.py")
    assert trial["data"] == trained.evaluated[0]["data"]


def test_a_trained_model_runs_from_the_pickled_flow(lay_over, tmp_path: Path):
    """In an environment where the package cannot be imported, as on Saturn."""
    trained = lay_over("1", "euros")
    pickled = tmp_path / "flow.pickle"
    result = trained.code(PICKLE, pickled)
    assert result.returncode == 0, result.stderr
    trial, _ = trained.ask(FROM_A_PICKLE, trained.parameters, pickled, by=trained.lender)
    assert trial["data"] == trained.evaluated[0]["data"]


def test_a_challenger_is_compared_on_the_same_rows(lay_over):
    laid = lay_over("3", "churn")
    trial, log = laid.evaluated
    kept = laid.command("history", "--json").stdout.splitlines()
    (other,) = (
        each
        for each in map(json.loads, kept)
        if each["difference"] and each["difference"]["trial"] == trial["id"]
    )
    difference, shown = other["difference"], laid.command("history", "--compare").stdout
    values = [each["data"]["metrics"]["log loss"] for each in (other, trial)]
    assert difference["value"] == pytest.approx(values[0] - values[1])
    assert difference["interval"][0] < difference["value"] < difference["interval"][1]
    assert [other["model"], difference["model"]] == ["by-plan", trial["model"]]
    assert other["data"]["target"] == trial["data"]["target"]
    assert f"log loss of by-plan minus that of logistic: {difference['value']:.3f}" in log
    assert shown.splitlines()[0].endswith("  95 % interval")
    assert other["id"][:8] in shown
    assert trial["id"][:8] not in shown


def test_forecasts_are_evaluated_once_their_outcome_is_known(lay_over):
    trial, _ = lay_over("3", "forecast").evaluated
    start, end, created = map(
        datetime.fromisoformat, [*trial["window"].values(), trial["created_at"]]
    )
    assert end - start == timedelta(hours=24)
    late = created - end - timedelta(days=7)
    assert timedelta(0) <= late < timedelta(minutes=2)
    assert trial["groups"] == 12  # stores


DRAWN = """
import json, os, sys
from PACKAGE.data import get_ticket_data_batch
from PACKAGE.evaluation.selection import Selection, make_selection

sizes, draw = [], Selection.draw
def count(self, frame, **options):
    sizes.append(len(frame))
    return draw(self, frame, **options)
Selection.draw = count
asked = {**json.loads(sys.argv[1]), "batch_size": 10}
batch = get_ticket_data_batch(make_selection(os.environ["DATA_URL"], **asked))
print(json.dumps([*sizes, len(batch)]))
"""


def test_a_database_keeps_to_the_window_and_the_batch_is_drawn(lay_over):
    laid = lay_over("3", "orders_sql")
    (size, drawn), _ = laid.ask(DRAWN, laid.parameters)
    everything, _ = laid.ask(DRAWN, "{}")
    assert size == laid.evaluated[0]["data"]["num_obs"] < everything[0]
    assert drawn == 10


def test_the_password_of_a_database_is_nowhere(
    lay_over, variant: str, api, request: pytest.FixtureRequest
):
    """Neither in what is kept nor in what is logged, and also not where the database refuses it."""
    laid = lay_over(variant, "orders_sql")
    if laid.secret is None:
        pytest.skip("no PostgreSQL on this machine")
    trial, log = laid.evaluated
    found, flow_log = laid.ask(FLOW[variant], laid.parameters, **api(variant))
    address = laid.place.replace(f"shop:{laid.secret}@", "")
    assert trial["source"] == found["trial"]["source"] == {"data": address}
    wrong = laid.place.replace(laid.secret, "an-old-password")
    refused = laid.evaluate(DATA_URL=wrong)
    assert_refused(refused, "data: the database does not answer", "authentication failed")
    failed = laid.code(FLOW[variant], laid.parameters, DATA_URL=wrong, **api(variant))
    assert failed.returncode != 0
    assert "authentication failed" in failed.stderr
    shown = [log, flow_log, refused.stderr, failed.stdout, failed.stderr, json.dumps(found)]
    folders = [laid.shared, laid.project.path / "trials"]
    if variant == "3":
        folders.append(request.getfixturevalue("prefect_3")[1])  # with the server's database
    kept = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".json" for file in kept)
    for secret in (laid.secret, "an-old-password"):
        assert not [text for text in shown if secret in text]
        assert not [file for file in kept if secret.encode() in file.read_bytes()]


# As the README shows them.


@pytest.mark.parametrize("pattern", ["euros", "churn"])
def test_the_readme_shows_a_pattern_as_it_is_tested(pattern: str, variant: str, tmp_path: Path):
    readme = bake(tmp_path, prefect_version=variant).text("README.md")
    (section,) = re.findall(r"^## Bring your own model$(.*?)(?=^## |\Z)", readme, re.M | re.S)
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    shown = {block.splitlines()[0]: block for block in blocks}
    names = ["data.py", "model.py", "metrics.py"]
    names += ["test_data_and_model.py"] if pattern == "euros" else []
    for name in names:
        file = (PATTERNS / pattern / name).read_text()
        assert len(file.splitlines()) <= 30
        assert shown.get(file.splitlines()[0]) == file, f"{pattern}/{name} is not in the README"
