"""Answers are data: they give a working project, or a refusal in one line with nothing written."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import existing
from cookiecutter.utils import create_env_with_context
from projects import (
    ANSWERS,
    ROOT,
    Project,
    bake,
    lend_environment,
    run,
)
from terminal import Terminal

from answers import MAX_NAME, find_problems
from local_extensions import STARTS, markdown, quoted

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
        ("project_name", " ", "must not be empty"),
        ("project_name", "a\x1b[31mb", "control character"),
        ("project_name", "x" * 501, "must be at most 500 characters long, not 501"),
        ("description", "", "must not be empty"),
        ("project_slug", "", "must not be empty"),
        ("project_slug", "../evil", "must be lower-case letters and digits, joined by"),
        ("project_slug", "/tmp/evil", "must be lower-case letters"),
        ("project_slug", "a/b/c", "must be lower-case letters"),
        ("project_slug", "..", "must be lower-case letters"),
        ("project_slug", "-rf", "must be lower-case letters"),
        ("project_slug", "a b", "must be lower-case letters"),
        ("project_slug", "a\nb", "must be lower-case letters"),
        ("project_slug", "é", "must be lower-case letters"),
        ("project_slug", "x" * 41, "must be at most 40 characters long, not 41"),
        ("project_slug", "scikit-learn", "names a package that the project needs"),
        ("project_slug", "pytest", "names a package that the project needs"),
        ("project_slug", "typing_extensions", "names a package that the project needs"),
        ("project_slug", "activate", "names a package that the project needs"),
        ("package_name", "", "must not be empty"),
        ("package_name", "1st", "must be lower-case letters, digits and underscores"),
        ("package_name", "my-package", "must be lower-case letters"),
        ("package_name", "a.b", "must be lower-case letters"),
        ("package_name", "../x", "must be lower-case letters"),
        ("package_name", "Pandas", "must be lower-case letters"),
        ("package_name", "class", "keyword"),
        ("package_name", "json", "module of Python itself"),
        ("package_name", "test_flow", "names a test module"),
        ("package_name", "pandas", "names a package that the project needs"),
        ("package_name", "yaml", "names a package that the project needs"),
        ("package_name", "prefect_saturn", "names a package that the project needs"),
        ("prefect_project", "", "must not be empty"),
        ("prefect_project", "-x", "must be at most 40 characters without"),
        ("prefect_project", "a/b", "must be at most 40 characters without"),
        ("prefect_project", " a", "must be at most 40 characters without"),
        ("prefect_project", "Prefect-x", "must not begin with 'prefect'"),
        ("prefect_version", "2", "prefect_version must be 3 or 1, not '2'"),
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
    assert lines[0].startswith(f"{prompt} must ")
    assert problem in lines[0]
    assert not Path("/tmp/evil").exists()


def test_a_replay_with_a_bad_answer_is_refused(tmp_path):
    bad = {"project_slug": "good-name", "package_name": "import", "prefect_project": "good-name"}
    answers = {"cookiecutter": {**ANSWERS, **bad}}
    replay = tmp_path / "replay.json"
    replay.write_text(json.dumps(answers))
    result = run("cookiecutter", ROOT, "-o", tmp_path, "--replay-file", replay)
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert said == "package_name must not be 'import', which is a Python keyword\n"
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
    metadata = tomllib.loads(project.text("pyproject.toml"))["project"]
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text}]
    title, _, description = project.text("README.md").splitlines()[:3]
    assert title == f"# {markdown(text)}"
    assert description == markdown(text)


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
    lend_environment(project, installed(*existing(variant)))
    tests = ["flow", *(["report"] if variant == "3" else [])]  # which show names
    for command in (
        ("pytest", *(f"tests/test_{name}.py" for name in tests)),
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
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
        project.source / "orchestration" / "flow.py",
        project.source / "data.py",
        project.path / "requirements.txt",
    ]
    for path in changed:
        path.write_text("mine\n")
    gone = [project.source / "cli.py", project.path / ".cookiecutter.json"]
    for path in gone:
        path.unlink()
    again = ("cookiecutter", "--no-input", "-f", "-o", tmp_path, ROOT, f"prefect_version={variant}")
    result = run(*again, "--skip-if-file-exists")
    assert result.returncode == 0, result.stderr
    assert [path.read_text() for path in changed] == ["mine\n"] * 3
    assert all(path.exists() for path in gone)
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
        input="House price watch\n" + "\n" * (len(PROMPTS) - 1),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert questions.returncode == 0, questions.stderr
    shown = " ".join(questions.stdout.split())
    assert all(question.partition(" (")[0] in shown for question in ANSWERS["__prompts__"].values())
    project = Project(tmp_path / "house-price-watch", "house-price-watch", "house_price_watch")
    assert project.source.is_dir()
    answers = json.loads(project.text(".cookiecutter.json"))["default_context"]
    assert "ticket" not in json.dumps(answers).lower()


def test_on_a_terminal_a_bad_answer_is_refused_when_it_is_given_and_asked_for_again(tmp_path):
    questions = ANSWERS["__prompts__"]
    typed = {
        "project_name": ["House price watch"],
        "project_slug": ["House Prices", "house-prices"],
        "package_name": ["import", "pandas", "houses"],
        "description": [""],
        "author_name": [""],
        "prefect_version": ["2", "1"],
        "prefect_project": ["a/b", "Houses"],
        "schedule_hours": ["24h", "6"],
    }
    never = {"PREFECT_CONNECT": "never"}
    with Terminal("cookiecutter", "-o", tmp_path, ROOT, env=never) as terminal:
        for prompt, answers in typed.items():
            for answer in answers:
                terminal.expect(questions[prompt][:30])
                terminal.type(answer)
                if answer != answers[-1]:
                    terminal.expect(f"{prompt} must ")
        assert terminal.end() == 0
    saved = json.loads((tmp_path / "house-prices" / ".cookiecutter.json").read_text())
    good = {prompt: answers[-1] for prompt, answers in typed.items() if answers[-1]}
    assert good.items() <= saved["default_context"].items()
    assert (tmp_path / "house-prices" / "src" / "houses").is_dir()


def test_elsewhere_all_that_is_wrong_is_said_at_once_with_the_command_that_keeps_the_rest(tmp_path):
    typed = ["It's ours", "", "import", "", "", "2", "", "24h"]
    ask = ["cookiecutter", "-o", str(tmp_path), str(ROOT)]
    how = {"capture_output": True, "text": True, "check": False, "timeout": 60}
    refused = subprocess.run(ask, input="\n".join([*typed, ""]), **how)
    assert refused.returncode == 1
    *_, package, version, hours, command = refused.stdout.splitlines()
    assert package.endswith("package_name must not be 'import', which is a Python keyword")
    assert version == "prefect_version must be 3 or 1, not '2'"
    assert hours.startswith("schedule_hours must be a whole number")
    assert list(tmp_path.iterdir()) == []
    again = command.removeprefix("To keep the other answers, run: ")
    script = f"{again} --no-input -o {tmp_path} package_name=ours"
    result = subprocess.run(["sh", "-c", script], **how)
    assert result.returncode == 0, result.stdout
    saved = json.loads((tmp_path / "it-s-ours" / ".cookiecutter.json").read_text())
    assert saved["default_context"]["project_name"] == "It's ours"


def test_without_questions_all_that_is_wrong_is_said_at_once(tmp_path):
    bad = {"project_slug": "a b", "prefect_version": "2", "schedule_hours": "-1"}
    lines = cookiecutter(tmp_path, **bad).stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == list(bad)


@pytest.mark.parametrize("kind", ["folder", "zip", "git", "bare"])
def test_the_template_works_from_a_folder_a_zip_and_a_git_repository(tmp_path, kind):
    template = tmp_path / "template"
    for name in run("git", "-C", ROOT, "ls-files", "-z").stdout.split("\0")[:-1]:
        if (ROOT / name).is_file():  # else it has been deleted, and that is not committed yet
            (template / name).parent.mkdir(parents=True, exist_ok=True)
            (template / name).write_bytes((ROOT / name).read_bytes())
    author = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    zipped, bare = tmp_path / "template.zip", tmp_path / "bare.git"
    for command in [
        ("init", "-q"),
        ("add", "-A"),
        (*author, "commit", "-qm", "Template"),
        ("archive", "--prefix=template/", "-o", zipped, "HEAD"),
        ("clone", "-q", "--bare", ".", bare),
    ]:
        result = run("git", *command, cwd=template)
        assert result.returncode == 0, result.stderr
    sources = {"folder": template, "zip": zipped}
    sources |= {"git": f"git+file://{template}", "bare": f"file://{bare}"}
    elsewhere = tmp_path / "elsewhere"  # beside the template its modules could be found by chance
    elsewhere.mkdir()
    command = ("cookiecutter", "--no-input", sources[kind])
    result = run(*command, cwd=elsewhere)
    assert result.returncode == 0, result.stdout + result.stderr
    project, expected = Project(elsewhere / "ticket-model-evaluation"), bake(tmp_path / "expected")
    assert project.files() == expected.files()
    assert project.text("requirements.txt") == expected.text("requirements.txt")
    refused = run(*command, "project_slug=pandas", cwd=elsewhere)
    assert refused.stdout.startswith("project_slug must not be 'pandas', which names a package")


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


def test_a_source_without_jinja_comes_out_as_jinja_would_have_it():
    plain = create_env_with_context({"cookiecutter": {**ANSWERS, "_extensions": []}})
    quick = create_env_with_context({"cookiecutter": ANSWERS})
    paths = (ROOT / "<<cookiecutter.project_slug>>").rglob("*")
    texts = [path.read_text() for path in paths if path.is_file()]
    literal = [text for text in texts if not any(start in text for start in STARTS)]
    assert len(literal) > 20
    for text in [*literal, "", "Makefile", "two\n\n", "no end", "'\"\\ {x} \U0001f3ab"]:
        assert quick.from_string(text).render(x=1) == plain.from_string(text).render(x=1)
    for each in (plain, quick):
        assert each.from_string("<< x >>").render(x=1) == "1"


def test_names_of_all_that_is_installed_are_taken(installed, variant):
    """No project may be named like a distribution or a module in its environment."""
    project = installed(*existing(variant))
    program = (
        "import importlib.metadata as m; p = m.packages_distributions();"
        "print(*{n.lower().replace('-', '_') for n in [*p, *(d for ds in p.values() for d in ds)]})"
    )
    names = set(project.run(project.python, "-c", program).stdout.split()) - {project.package}
    importable = {name for name in names if name.isidentifier() and not name.startswith("_")}
    lacking = sorted(name for name in importable if not find_problems({"package_name": name}))
    assert not lacking, "add these to TAKEN in answers.py: " + " ".join(lacking)
