"""What makes an answer bad, and the line that says so."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from slugify import slugify

LOCKS = Path(__file__).resolve().parent / "locks"
MAX_NAME = 40  # characters; so that generated lines stay within the length that ruff checks
MAX_TEXT = 500

# Names that are taken beside the locked distributions: what these are imported as, what the extra
# `s3` adds, and what virtual environments, make and the tests bring. tests/test_answers.py compares
# them with what is installed.
TAKEN = frozenset(
    """
    amplitude attr box dateparser_cli dateparser_data dateparser_scripts dateutil docket dotenv
    importlinter jsonpatch_cli jsonpatch_stubs jsonpointer_stubs key_value markdown_it mypyc
    opentelemetry py pythonjsonlogger pytz_stubs requests_stubs rpds ruamel sklearn slugify tlz
    vl_convert yaml yaml_stubs
    aiobotocore aioitertools botocore jmespath s3fs wrapt
    activate deactivate flit_core make pip python python3 setuptools src test tests uv wheel
    """.split()  # noqa: SIM905  as a list it would fill pages
)


def find_problems(answers: Mapping[str, str]) -> dict[str, str]:
    """Find the bad answers.

    Args:
        answers: Answers by the names of the prompts; prompts without an answer are not checked.

    Returns:
        For each bad answer, by its prompt: one line that says what it must be. An answer that
        follows from a bad one, as the package's name does from the slug, is not named as well.
    """
    checks: dict[str, Callable[[str], str]] = {
        "project_name": _text_problem,
        "project_slug": _slug_problem,
        "package_name": _package_problem,
        "description": _text_problem,
        "author_name": lambda answer: _text_problem(answer) if answer else "",
        "prefect_version": lambda answer: (
            "" if answer in ("3", "1") else f"must be 3 or 1, not {_shown(answer)}"
        ),
        "prefect_project": _project_problem,
        "schedule_hours": _hours_problem,
    }
    found = {}
    for prompt, check in checks.items():
        problem = check(str(answers[prompt])) if prompt in answers else ""
        if problem:
            found[prompt] = f"{prompt} {problem}"
    follows: dict[tuple[str, str], Callable[[str], str]] = {
        ("project_slug", "project_name"): slugify,
        ("package_name", "project_slug"): lambda slug: slug.replace("-", "_"),
        ("prefect_project", "project_slug"): str,
    }
    caused = [
        prompt
        for (prompt, source), derive in follows.items()
        if prompt in found and source in found and answers[prompt] == derive(answers[source])
    ]
    return {prompt: problem for prompt, problem in found.items() if prompt not in caused}


def _shown(answer: str) -> str:
    """The answer as a person can read it in one line, whatever it holds."""
    return ascii(answer) if len(answer) <= MAX_NAME else ascii(answer[:MAX_NAME] + "...")


def _text_problem(answer: str) -> str:
    if not answer.strip():
        return "must not be empty"
    if len(answer) > MAX_TEXT:
        return f"must be at most {MAX_TEXT} characters long, not {len(answer)}"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in answer):
        return "must be valid UTF-8; type it again"
    if any(ord(character) < 32 and character not in "\t\n\r" for character in answer):
        return f"must not hold control characters, as {_shown(answer)} does"
    return ""


def _name_problem(answer: str) -> str:
    if not answer:
        return "must not be empty"
    if len(answer) > MAX_NAME:
        return f"must be at most {MAX_NAME} characters long, not {len(answer)}"
    name = answer.replace("-", "_")
    if name == "conftest" or name.startswith("test_"):
        return f"must not be {_shown(answer)}, which names a test module"
    if name in sys.stdlib_module_names:
        return f"must not be {_shown(answer)}, which names a module of Python itself"
    if name in TAKEN or f"\n{name.replace('_', '-')}==" in _locks():
        return f"must not be {_shown(answer)}, which names a package that the project needs"
    return ""


@cache
def _locks() -> str:
    """The locked requirements of both variants; lines begin with a normalized name and `==`."""
    return "\n".join(path.read_text(encoding="utf-8") for path in LOCKS.glob("*/*.txt"))


def _slug_problem(answer: str) -> str:
    if answer and not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", answer, re.ASCII):
        rule = "lower-case letters and digits, joined by single hyphens, starting with a letter"
        return f"must be {rule}, not {_shown(answer)}"
    return _name_problem(answer)


def _package_problem(answer: str) -> str:
    if keyword.iskeyword(answer):
        return f"must not be {_shown(answer)}, which is a Python keyword"
    if answer and not re.fullmatch(r"[a-z][a-z0-9_]*", answer, re.ASCII):
        rule = "lower-case letters, digits and underscores, starting with a letter"
        return f"must be {rule}, not {_shown(answer)}"
    return _name_problem(answer)


def _project_problem(answer: str) -> str:
    problem = _text_problem(answer)
    if problem:
        return problem
    # What Prefect 3 refuses in the name of a work pool, and what no table could show.
    if (
        answer != answer.strip()
        or answer.startswith("-")
        or len(answer) > MAX_NAME
        or any(character in "/%&<>" or ord(character) < 32 for character in answer)
    ):
        rule = "without / % & < >, a hyphen in front or a space at either end"
        return f"must be at most {MAX_NAME} characters {rule}, not {_shown(answer)}"
    if answer.lower().startswith("prefect"):
        return f"must not begin with 'prefect', which is Prefect's own, as {_shown(answer)} does"
    return ""


def _hours_problem(answer: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}", answer, re.ASCII):
        return f"must be a whole number of hours from 0 (no schedule) to 9999, not {_shown(answer)}"
    return ""
