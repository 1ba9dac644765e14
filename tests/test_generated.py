"""What every generated project is: its files, clean at birth, with its own tests passing."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import sys
import tokenize
from pathlib import Path

import pytest
from conftest import existing
from projects import (
    OF_EVALUATION,
    ROOT,
    VARIANTS,
    Project,
    bake,
    find_python,
    own_tests,
    run,
)
from pythons import one_requirement, python_that_says, without_uv

SHARED = """
.cookiecutter.json .env.example .gitignore .pre-commit-config.yaml LICENSE Makefile README.md
.github/dependabot.yml .github/workflows/ci.yml pyproject.toml requirements-dev.txt requirements.txt
src/PACKAGE/__init__.py src/PACKAGE/__main__.py src/PACKAGE/cli.py src/PACKAGE/errors.py
src/PACKAGE/data.py src/PACKAGE/model.py src/PACKAGE/pipeline.py src/PACKAGE/settings.py
src/PACKAGE/backfill.py src/PACKAGE/metrics.py src/PACKAGE/charts.py src/PACKAGE/report.html
src/PACKAGE/report.py
src/PACKAGE/evaluation/__init__.py src/PACKAGE/evaluation/blocks.py
src/PACKAGE/evaluation/checks.py
src/PACKAGE/evaluation/files.py src/PACKAGE/evaluation/outcomes.py src/PACKAGE/evaluation/pairs.py
src/PACKAGE/evaluation/gate.py src/PACKAGE/evaluation/history.py src/PACKAGE/evaluation/intervals.py
src/PACKAGE/evaluation/resampling.py src/PACKAGE/evaluation/scores.py
src/PACKAGE/evaluation/scoring.py src/PACKAGE/evaluation/selection.py
src/PACKAGE/evaluation/shapes.py src/PACKAGE/evaluation/store.py src/PACKAGE/evaluation/summary.py
src/PACKAGE/evaluation/tables.py src/PACKAGE/evaluation/trial.py
src/PACKAGE/incident_log/__init__.py src/PACKAGE/incident_log/cache.py
src/PACKAGE/incident_log/columns.py src/PACKAGE/incident_log/csv_file.py
src/PACKAGE/incident_log/fetch.py src/PACKAGE/incident_log/formats.py
src/PACKAGE/incident_log/parse.py src/PACKAGE/incident_log/sample.py
src/PACKAGE/orchestration/__init__.py src/PACKAGE/orchestration/connection.py
src/PACKAGE/orchestration/flow.py src/PACKAGE/orchestration/register.py
src/PACKAGE/orchestration/runner.py src/PACKAGE/orchestration/runs.py
tests/conftest.py tests/test_commands.py tests/test_data_and_model.py tests/test_flow.py
tests/test_backfill.py tests/test_blocks.py tests/test_gate.py tests/test_intervals.py
tests/test_outcomes.py
tests/test_report.py tests/test_scores.py tests/test_selection.py tests/test_trial.py
""".split()
OWN = {
    "3": """
prefect.yaml saturn.yaml
src/PACKAGE/orchestration/alerts.py src/PACKAGE/orchestration/deployments.py
src/PACKAGE/orchestration/git.py src/PACKAGE/orchestration/profiles.py
src/PACKAGE/orchestration/saturn.py src/PACKAGE/orchestration/server.py
""".split(),
    "1": ["src/PACKAGE/orchestration/pickle_check.py"],
}
DELIMITER = re.compile(r"<<|>>|<%|%>|<#|#>|cookiecutter\.(?!json|com)")
# Lines of code: a module's, and a room's; whatever is in no other room is in "".
MODULE = 200
# The log's room reads two formats, folders and stores, whole in little memory and in blocks.
# Dask is in orchestration: a cluster from three places, and a runner for each Prefect. What comes
# back of a block is packed in evaluation.
ROOMS = {"incident_log": 618, "orchestration": 1451, "evaluation": 1824, "": 996}
YOURS = {"data.py": 40, "model.py": 40, "metrics.py": 40}


def test_inventory(tmp_path, variant):
    project = bake(tmp_path, prefect_version=variant)
    expected = {name.replace("PACKAGE", project.package) for name in SHARED + OWN[variant]}
    assert project.files() == expected


def test_no_delimiter_is_left(tmp_path, variant):
    project = bake(tmp_path, prefect_version=variant)
    left = {name: DELIMITER.search(project.text(name)) for name in project.files()}
    assert {name: match[0] for name, match in left.items() if match} == {}


def test_the_saved_answers_hold_answers_only(tmp_path):
    saved = json.loads(bake(tmp_path, project_name="Mine").text(".cookiecutter.json"))
    assert set(saved) == {"template_version", "default_context"}
    assert str(tmp_path) not in json.dumps(saved)


def test_own_tests_pass(default_project: Project):
    # What knows no Prefect takes most of the time: it is tested once, on the oldest Python.
    is_oldest = default_project.path.parent.name == f"installed-3-{existing('3')[1]}"
    tests = ("make", "test") if is_oldest else (default_project.python, *own_tests(*OF_EVALUATION))
    result = default_project.run(*tests, limit=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    assert not re.search("skipped|failed", result.stdout)


def test_lint_format_types_and_imports_are_clean(installed, variant, types_cache):
    """On one Python: mypy is told which one to check for."""
    project = installed(*existing(variant))
    result = project.run("make", "lint", env=types_cache(variant), limit=400)
    assert result.returncode == 0, result.stdout + result.stderr


def test_pre_commit_passes_untouched_and_with_a_model_file(tmp_path, variant):
    project = bake(tmp_path, prefect_version=variant)
    (project.source / "model.joblib").write_bytes(bytes(922_000))
    project.run("git", "init", "-q")
    project.run("git", "add", "-A")
    result = project.run(
        "pre-commit", "run", "--all-files", env={"PRE_COMMIT_HOME": cache_folder()}, limit=600
    )
    assert result.returncode == 0, result.stdout + result.stderr


def cache_folder() -> str:
    return os.environ["UV_CACHE_DIR"] + "-pre-commit"


def test_requirements_are_locked_with_hashes_and_name_no_index(tmp_path, variant):
    project = bake(tmp_path, prefect_version=variant)
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = project.text(name)
        requirements = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
        assert len(requirements) > 20
        assert all(
            "==" in requirement and "--hash=sha256:" in requirement for requirement in requirements
        )
        assert not re.search(r"://|--(extra-)?index-url|--find-links", text)


def lines_of_code(source: str) -> int:
    """Docstrings, comments and blank lines are not to be saved on."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node):
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = "NL NEWLINE INDENT DEDENT COMMENT ENDMARKER".split()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = [token for token in tokens if tokenize.tok_name[token.type] not in layout]
    return len(
        {line for token in code for line in range(token.start[0], token.end[0] + 1)} - docstrings
    )


def sources(folder: Path, variant: str) -> dict[str, str]:
    """The package's modules, by their path in it."""
    project = bake(folder, prefect_version=variant)
    paths = project.source.rglob("*.py")
    return {str(path.relative_to(project.source)): path.read_text() for path in paths}


def test_each_room_stays_small(tmp_path, variant):
    lines = {name: lines_of_code(source) for name, source in sources(tmp_path, variant).items()}
    assert {name: count for name, count in lines.items() if count > YOURS.get(name, MODULE)} == {}
    rooms = dict.fromkeys(ROOMS, 0)
    for name, count in lines.items():
        room = name.partition("/")[0]
        rooms[room if room in ROOMS else ""] += count
    assert {room: count for room, count in rooms.items() if count > ROOMS[room]} == {}


def test_errors_are_translated_in_few_places(tmp_path, variant):
    """Fewer than 2 `except` in 100 lines of code."""
    modules = sources(tmp_path, variant).values()
    nodes = (node for source in modules for node in ast.walk(ast.parse(source)))
    handlers = sum(isinstance(node, ast.ExceptHandler) for node in nodes)
    assert handlers / sum(map(lines_of_code, modules)) < 0.02


def test_what_knows_no_prefect_is_the_same_in_both_variants(tmp_path):
    """The same code, with the same versions of other packages: so it is tested in one of them."""
    first, second = (bake(tmp_path / variant, prefect_version=variant) for variant in VARIANTS)
    python = {name for name in first.files() | second.files() if name.endswith(".py")}
    only_once = first.files() ^ second.files()
    differ = {name for name in python - only_once if first.text(name) != second.text(name)}
    package = f"src/{first.package}"
    differ -= {f"{package}/cli.py", f"{package}/settings.py", "tests/test_flow.py"}
    assert all("/orchestration/" in name for name in differ | only_once & python)
    locks = [each.text("requirements.txt") for each in (first, second)]
    pins = [dict(re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)) for lock in locks]
    imported = "fsspec joblib numpy orjson pandas pyarrow requests scikit-learn scipy urllib3"
    for name in imported.split():
        assert pins[0][name] == pins[1][name]


def test_what_is_not_prefects_stays_free_of_prefect(tmp_path, variant):
    """As import-linter has it in `make lint`, which does not read what is optional."""
    for name, source in sources(tmp_path, variant).items():
        if not name.startswith("orchestration/"):
            assert not re.search(r"^\s*(import|from) prefect", source, re.MULTILINE), name


# make


def small(folder: Path) -> Project:
    """A project with one locked requirement."""
    project = bake(folder)
    requirement = one_requirement(project.text("requirements.txt"))
    for name in ("requirements.txt", "requirements-dev.txt"):
        (project.path / name).write_text(requirement)
    return project


@pytest.mark.parametrize("with_uv", [True, False])
def test_setup_says_what_it_costs_and_nothing_else(tmp_path, with_uv):
    """Also where pip and uv are told to insist on hashes, which the project itself has none of."""
    project = small(tmp_path)
    with (project.path / "requirements-dev.txt").open("a") as file:
        file.write(one_requirement(bake(tmp_path / "whole").text("requirements-dev.txt"), "uv"))
    changes = {"PIP_REQUIRE_HASHES": "1", "UV_REQUIRE_HASHES": "1"}
    changes |= {"PIP_DISABLE_PIP_VERSION_CHECK": None, "PIP_QUIET": None}
    changes["PATH"] = os.environ["PATH"] if with_uv else without_uv()
    result = project.run("make", "setup", f"PYTHON={sys.executable}", env=changes)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Installing the locked requirements into .venv (about 900 MB) ...\n"
    assert "notice" not in result.stderr
    imported = project.run(project.python, "-c", f"import {project.package}, click")
    assert imported.returncode == 0, imported.stderr
    (installer,) = project.path.glob(".venv/lib/*/site-packages/click-*/INSTALLER")
    assert installer.read_text().strip() == "uv"  # which pip installs where there is none


@pytest.mark.parametrize("python", ["python9", "false", 310])
def test_setup_lets_uv_find_a_python_in_place_of_one_that_will_not_do(tmp_path, python):
    existing("3", "3.13")
    project = small(tmp_path)
    if isinstance(python, int):
        python = str(python_that_says(tmp_path, python))
    path = f"{find_python('3.13').parent}{os.pathsep}{os.environ['PATH']}"
    result = project.run("make", "setup", f"PYTHON={python}", env={"PATH": path})
    assert result.returncode == 0, result.stderr
    assert f"{python} is not Python 3.11 or newer; uv takes another" in result.stderr
    assert project.run(project.python, "-c", "import click").returncode == 0


@pytest.mark.parametrize("python", ["python9", "false", 310])
def test_setup_says_in_one_line_before_anything_else_that_python_will_not_do(tmp_path, python):
    project = small(tmp_path)
    if isinstance(python, int):
        python = str(python_that_says(tmp_path, python))
    result = project.run("make", "setup", f"PYTHON={python}", env={"PATH": without_uv()})
    assert result.returncode != 0
    line, make = result.stderr.splitlines()
    assert line.startswith(f"{python} is not Python 3.11 or newer, which this project needs: make ")
    assert make.startswith("make: ***")
    assert result.stdout == ""
    assert not (project.path / ".venv").exists()


def test_setup_tries_a_python_newer_than_was_tested(tmp_path):
    project = small(tmp_path)
    python = python_that_says(tmp_path, 399)
    result = project.run("make", "setup", f"PYTHON={python}")
    assert result.returncode == 0, result.stderr
    assert f"{python} is newer than 3.14, the newest Python" in result.stderr


def test_setup_installs_the_pre_commit_hook_where_there_is_a_git_repository(project: Project):
    make = ("make", "setup", "-o", ".venv/.installed")
    assert (project.run(*make).returncode, project.run(*make).stderr) == (0, "")
    assert not (project.path / ".git").exists()
    project.run("git", "init", "-q")
    result = project.run(*make)
    assert (result.returncode, result.stderr) == (0, "")
    assert "pre-commit" in project.text(".git/hooks/pre-commit")
    project.run("git", "config", "core.hooksPath", "elsewhere")
    result = project.run(*make)
    assert result.returncode == 0
    assert result.stderr.startswith("The pre-commit hook is not installed: ")


def test_lock_says_that_it_needs_uv(tmp_path):
    result = bake(tmp_path).run("make", "lock", env={"PATH": without_uv()})
    assert result.returncode != 0
    assert "make lock needs uv, which make setup brings" in result.stderr


def test_make_has_a_target_for_each_command(project: Project):
    targets = re.findall(r"^([a-z]+)  ", project.run("make").stdout, re.MULTILINE)
    commands = project.run(project.command, "--help").stdout.partition("Commands:")[2]
    named = set(re.findall(r"^  ([a-z]+)", commands, re.MULTILINE))
    assert {"setup", "test", "lint", "evaluate", "history", "unregister", "lock"} <= set(targets)
    assert named - {"backfill"} <= set(targets)  # it needs options
    assert project.evaluate("--data", "sample").returncode == 0
    history = project.run("make", "history", "-o", ".venv/.installed")
    assert history.stdout.count("\n") == 2, history.stdout


# What reviewers look for.


@pytest.fixture(params=["template", *VARIANTS])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The template itself, and what it generates in each variant."""
    if request.param == "template":
        return ROOT
    return bake(tmp_path, prefect_version=request.param).path


def test_sp_repo_review_finds_nothing_that_is_not_ignored_with_a_reason(repository: Path):
    result = run("repo-review", "--format", "json", "--show", "err", repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["checks"] == {}


def test_zizmor_finds_nothing_in_the_workflows(repository: Path):
    result = run("zizmor", "--offline", "--quiet", repository / ".github")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_workflows_use_the_same_actions_and_end_in_time(tmp_path):
    workflows = [folder / ".github/workflows/ci.yml" for folder in (ROOT, bake(tmp_path).path)]
    used = [re.findall(r"uses: (\S+@[0-9a-f]{40} # v\S+)", path.read_text()) for path in workflows]
    assert used[0] == used[1]
    assert len(used[0]) == 2
    assert all("timeout-minutes:" in path.read_text() for path in workflows)
