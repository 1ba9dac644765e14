"""Answers are data: they give a working project, or a refusal in one line with nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from projects import ANSWERS, ROOT, VARIANTS, Project, bake, lend_environment, run

from template_extension import MAX_NAME, TAKEN, markdown, quoted

PROMPTS = [name for name in ANSWERS if not name.startswith("_")]
AWKWARD = {
    "quotes": """It's "quoted" \\"twice\\" '''and''' \"\"\"thrice\"\"\" \\""",
    "backslashes": r"C:\new\table \u0041 \x41 \N{BULLET} ends in \\"[:-1],
    "newlines": "one\ntwo\nthree\n\n# four\n- five\n",
    "unicode": "Überprüfung 工单 🎫👩\u200d💻 \u2028\u0085\x7f\ufeff end",
    "jinja": "{{ cookiecutter.project_slug }} {% raw %} {# note #}",
    "shell": "$(touch injected) `touch injected` ${HOME} ; rm -rf x & | > injected !! ~ *",
    "toml": '"]\n[tool.evil]\nx = """1""" # comment',
    "yaml": "- [a, {b: !!python/object:os.system *x}] : | > %YAML",
    "markdown": "# <script>alert(1)</script> [x](javascript:1) **b** _i_ | & ![p](q) 1. 2) <!--",
}


def cookiecutter(folder: Path, **answers: str) -> subprocess.CompletedProcess[str]:
    arguments = [f"{name}={value}" for name, value in answers.items()]
    return run("cookiecutter", "--no-input", "-o", folder, ROOT, *arguments)


@pytest.mark.parametrize(
    ("prompt", "answer", "problem"),
    [
        ("project_name", " ", "is empty"),
        ("project_name", "a\x1b[31mb", "control character"),
        ("project_name", "x" * 501, "longer than"),
        ("description", "", "is empty"),
        ("project_slug", "", "is empty"),
        ("project_slug", "../evil", "no plain name"),
        ("project_slug", "/tmp/evil", "no plain name"),
        ("project_slug", "a/b/c", "no plain name"),
        ("project_slug", "..", "no plain name"),
        ("project_slug", "-rf", "no plain name"),
        ("project_slug", "a b", "no plain name"),
        ("project_slug", "a\nb", "no plain name"),
        ("project_slug", "é", "no plain name"),
        ("project_slug", "x" * 41, "longer than"),
        ("project_slug", "scikit-learn", "package that the project needs"),
        ("project_slug", "pytest", "package that the project needs"),
        ("package_name", "", "is empty"),
        ("package_name", "1st", "cannot be imported"),
        ("package_name", "my-package", "cannot be imported"),
        ("package_name", "a.b", "cannot be imported"),
        ("package_name", "../x", "cannot be imported"),
        ("package_name", "Pandas", "cannot be imported"),
        ("package_name", "class", "keyword"),
        ("package_name", "json", "module of Python"),
        ("package_name", "test_flow", "name of a test module"),
        ("project_slug", "activate", "package that the project needs"),
        ("prefect_project", "-x", "will not do"),
        ("package_name", "pandas", "package that the project needs"),
        ("package_name", "yaml", "package that the project needs"),
        ("prefect_project", "", "is empty"),
        ("prefect_project", "a/b", "will not do"),
        ("prefect_project", " a", "will not do"),
        ("prefect_project", "Prefect-x", "keeps for itself"),
        ("prefect_version", "2", "is neither 3 nor 1"),
        ("schedule_hours", "", "whole number"),
        ("schedule_hours", "-1", "whole number"),
        ("schedule_hours", "1.5", "whole number"),
        ("schedule_hours", "24h", "whole number"),
        ("schedule_hours", "٣", "whole number"),
    ],
)
def test_a_bad_answer_is_refused_in_one_line_and_nothing_is_written(
    tmp_path, prompt, answer, problem
):
    output = tmp_path / "a" / "b"
    output.mkdir(parents=True)
    result = cookiecutter(output, **{prompt: answer})
    assert result.returncode == 1
    assert [path for path in tmp_path.rglob("*") if path.name not in "ab"] == []
    lines = (result.stdout + result.stderr).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{prompt}: ")
    assert problem in lines[0]
    assert not Path("/tmp/evil").exists()


def test_a_replay_with_a_bad_answer_is_refused_by_the_hook(tmp_path):
    answers = {"cookiecutter": {**ANSWERS, "project_slug": "good-name", "package_name": "import"}}
    answers["cookiecutter"]["prefect_version"] = VARIANTS[0]
    replay = tmp_path / "replay.json"
    replay.write_text(json.dumps(answers))
    result = run("cookiecutter", ROOT, "-o", tmp_path, "--replay-file", replay)
    assert result.returncode == 1
    assert (
        result.stdout.splitlines()[-1]
        == "package_name: 'import' is a keyword of Python; choose another"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["replay.json"]


@pytest.mark.parametrize("kind", AWKWARD)
def test_any_text_comes_out_as_data(tmp_path, kind):
    text = AWKWARD[kind]
    project = bake(
        tmp_path, project_name=text, project_slug="awkward", description=text, author_name=text
    )
    assert not list(tmp_path.rglob("injected*"))
    saved = json.loads(project.text(".cookiecutter.json"))
    assert {
        saved["default_context"][name] for name in ("project_name", "description", "author_name")
    } == {text}
    assert (
        yaml.safe_load(project.text(".cookiecutter.json")) == saved
    )  # cookiecutter reads it back as YAML
    metadata = read_toml(project)["project"]
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text}]
    title, _, description = project.text("README.md").splitlines()[:3]
    assert title == f"# {markdown(text)}"
    assert description == markdown(text)


def read_toml(project: Project) -> dict:
    """Through the project's oldest supported reader: flit's, on Python 3.10."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(project.text("pyproject.toml"))


def test_a_project_of_awkward_names_installs_and_passes_its_own_tests(tmp_path, installed, variant):
    text = "\n".join(AWKWARD.values())[:500]
    answers = {
        "project_name": text,
        "description": text,
        "author_name": text,
        "prefect_version": variant,
    }
    longest = "x" * MAX_NAME
    project = bake(
        tmp_path,
        **answers,
        project_slug=longest,
        package_name=longest,
        prefect_project="Ünï 🎫 'q' \"d\" \\ $(x) {{y}}",
    )
    lend_environment(project, installed(variant, "3.13"))
    for command in (
        ("pytest",),
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
    ):
        result = project.run(project.python, "-m", *command, limit=300)
        assert result.returncode == 0, result.stdout + result.stderr


def test_saved_answers_give_the_same_project_again(tmp_path):
    text = AWKWARD["unicode"] + AWKWARD["quotes"]
    first = bake(tmp_path / "first", project_name=text, project_slug="again", schedule_hours="6")
    saved = first.path / ".cookiecutter.json"
    result = run(
        "cookiecutter", ROOT, "--no-input", "--config-file", saved, "-o", tmp_path / "second"
    )
    assert result.returncode == 0, result.stderr
    second = Project(tmp_path / "second" / "again", "again", "again")
    assert second.files() == first.files()
    assert all(
        (second.path / name).read_bytes() == (first.path / name).read_bytes()
        for name in first.files()
    )


def test_generating_again_with_skip_keeps_what_was_changed_and_restores_what_is_gone(
    tmp_path, variant
):
    project = bake(tmp_path, prefect_version=variant)
    changed = [
        project.source / "flow.py",
        project.source / "data.py",
        project.path / "requirements.txt",
    ]
    for path in changed:
        path.write_text("mine\n")
    for path in (project.source / "connect.py", project.path / ".cookiecutter.json"):
        path.unlink()
    again = ("cookiecutter", "--no-input", "-f", "-o", tmp_path, ROOT, f"prefect_version={variant}")
    result = run(*again, "--skip-if-file-exists")
    assert result.returncode == 0, result.stderr
    assert [path.read_text() for path in changed] == ["mine\n"] * 3
    assert (project.source / "connect.py").exists()
    assert run(*again).returncode == 0
    assert "mine\n" not in [path.read_text() for path in changed]


def test_without_hooks_the_project_is_the_same(tmp_path, variant):
    project = bake(tmp_path / "hooks", prefect_version=variant)
    result = run(
        "cookiecutter",
        "--no-input",
        "--accept-hooks",
        "no",
        "-o",
        tmp_path,
        ROOT,
        f"prefect_version={variant}",
    )
    assert result.returncode == 0, result.stderr
    without = Project(tmp_path / project.slug)
    assert without.files() == project.files()
    assert all(
        (without.path / name).read_bytes() == (project.path / name).read_bytes()
        for name in project.files()
    )


def test_every_prompt_asks_in_words(tmp_path):
    assert set(ANSWERS["__prompts__"]) == set(PROMPTS)
    assert len(PROMPTS) <= 8
    questions = subprocess.run(
        ["cookiecutter", str(ROOT), "-o", str(tmp_path)],
        input="My project\n" + "\n" * (len(PROMPTS) - 1),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert questions.returncode == 0, questions.stderr
    shown = " ".join(questions.stdout.split())
    assert all(question.partition(" (")[0] in shown for question in ANSWERS["__prompts__"].values())
    assert (tmp_path / "my-project" / "src" / "my_project").is_dir()


def test_no_answer_is_a_secret():
    assert not [
        name
        for name in PROMPTS
        if any(word in name for word in ("key", "token", "secret", "password"))
    ]


def test_quoted_text_is_read_alike_by_json_yaml_and_python():
    for text in AWKWARD.values():
        assert (
            json.loads(quoted(text)) == yaml.safe_load(quoted(text)) == eval(quoted(text)) == text
        )


def test_names_of_all_that_is_installed_are_taken(installed, variant):
    """No project may be called like something in its environment, by distribution or by import name."""
    project = installed(variant, "3.13")
    program = (
        "import importlib.metadata as m; p = m.packages_distributions();"
        "print(*{n.lower().replace('-', '_') for n in [*p, *(d for ds in p.values() for d in ds)]})"
    )
    names = set(project.run(project.python, "-c", program).stdout.split()) - {project.package}
    lacking = {name for name in names if name.isidentifier() and not name.startswith("_")} - TAKEN
    assert not lacking, "add these to TAKEN in template_extension.py: " + " ".join(sorted(lacking))
