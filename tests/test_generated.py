"""What every generated project is: its files, clean at birth, with its own tests passing."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import tokenize

import pytest
from projects import Project, bake

SHARED = """
.cookiecutter.json .env.example .github/workflows/ci.yml .gitignore .pre-commit-config.yaml Makefile README.md
pyproject.toml requirements-dev.txt requirements.txt
src/PACKAGE/__init__.py src/PACKAGE/__main__.py src/PACKAGE/connect.py src/PACKAGE/data.py src/PACKAGE/download.py
src/PACKAGE/errors.py src/PACKAGE/evaluation.py src/PACKAGE/flow.py src/PACKAGE/model.py src/PACKAGE/pipeline.py
src/PACKAGE/register.py src/PACKAGE/sample.py src/PACKAGE/selection.py src/PACKAGE/settings.py src/PACKAGE/tables.py
src/PACKAGE/trials.py src/PACKAGE/files.py
tests/conftest.py tests/test_commands.py tests/test_data_and_model.py tests/test_flow.py tests/test_trial.py
""".split()
OWN = {"3": ["saturn.yaml", "src/PACKAGE/saturn.py"], "1": []}
DELIMITER = re.compile(r"<<|>>|<%|%>|<#|#>|cookiecutter\.(?!json|com)")


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
    result = default_project.run("make", "test", limit=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    assert not re.search("skipped|failed", result.stdout)


def test_lint_format_and_types_are_clean(default_project: Project):
    result = default_project.run("make", "lint", limit=400)
    assert result.returncode == 0, result.stdout + result.stderr


def test_pre_commit_passes_untouched(tmp_path, variant):
    project = bake(tmp_path, prefect_version=variant)
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


def test_source_stays_small(tmp_path, variant):
    """Lines of code: docstrings, comments and blank lines are not to be saved on."""
    project = bake(tmp_path, prefect_version=variant)
    code = 0
    for path in project.source.glob("*.py"):
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = sum(
            1 for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
        )
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        layout = (
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.COMMENT,
            tokenize.ENDMARKER,
        )
        code += len({token.start[0] for token in tokens if token.type not in layout}) - docstrings
    assert code < 1500


def test_what_is_not_prefects_stays_free_of_prefect(tmp_path, variant):
    project = bake(tmp_path, prefect_version=variant)
    free = "data download errors evaluation model pipeline sample selection tables trials __main__ settings".split()
    for name in free:
        assert not re.search(
            r"^\s*(import|from) prefect", (project.source / f"{name}.py").read_text(), re.MULTILINE
        )


@pytest.mark.parametrize("make", ["PYTHON=python9", "PYTHON=false"])
def test_setup_says_in_one_line_that_python_will_not_do(tmp_path, make):
    project = bake(tmp_path)
    result = subprocess.run(
        ["make", "-s", "setup", make], cwd=project.path, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "This project needs Python 3.10 to 3.13" in result.stderr
    assert not (project.path / ".venv").exists()
