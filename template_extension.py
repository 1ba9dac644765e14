"""What the template's files and prompts need of Jinja beyond what cookiecutter brings: checks, quoting, variants.

cookiecutter loads this through `_extensions` in cookiecutter.json, which it has done for modules beside that
file since its version 2.1.
"""

from __future__ import annotations

import gc
import json
import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

# What cookiecutter has imported by now stays until its end: looking through it for garbage, again and again, would take
# a tenth of the time that rendering takes.
gc.freeze()

MAX_NAME = 40  # characters; so that generated lines stay within the line length that ruff checks
MAX_TEXT = 500

# Import names and distribution names in the locked environments of both variants, with `_` for `-`: a project of
# such a name would hide or replace what it needs. tests/test_answers.py compares this with what is installed.
TAKEN = frozenset(
    """
    aiobotocore aioitertools aiosqlite alembic amplitude amplitude_analytics annotated_doc annotated_types anyio
    apprise asgi_lifespan ast_serialize async_timeout asyncpg attr attrs beartype botocore box burner_redis
    cachetools certifi cffi cfgv charset_normalizer click cloudpickle colorama coolname croniter cronsim
    cryptography cyclopts cytoolz dask dask_saturn dateparser dateparser_cli dateparser_data dateparser_scripts
    dateutil distlib distributed docker docket docstring_parser dotenv exceptiongroup fastapi filelock flit_core
    fsspec graphviz greenlet griffe griffecli griffelib h11 h2 hpack httpcore httpx humanize hyperframe identify
    idna importlib_resources iniconfig jinja2 jinja2_humanize_extension jmespath joblib jsonpatch jsonpatch_cli
    jsonpatch_stubs jsonpointer jsonpointer_stubs jsonschema jsonschema_specifications key_value librt locket make
    mako markdown markdown_it markdown_it_py markupsafe marshmallow marshmallow_dataclass marshmallow_oneofschema
    mdurl msgpack mypy mypy_extensions mypyc narwhals nodeenv numpy oauthlib opentelemetry opentelemetry_api orjson
    packaging pandas pandas_stubs partd pathspec pendulum pip platformdirs pluggy pre_commit prefect prefect_saturn
    prometheus_client psutil py py_key_value_aio pyarrow pycparser pydantic pydantic_core pydantic_extra_types
    pydantic_settings pydocket pygments pytest python python3 python_box python_dateutil python_discovery
    python_dotenv python_json_logger python_slugify pythonjsonlogger pytz pytz_stubs pyyaml readchar redis
    referencing regex requests requests_oauthlib requests_stubs rfc3339_validator rich rich_rst rpds rpds_py ruamel
    ruff s3fs saturn_client saturnfs scikit_learn scipy semver setuptools shellingham six sklearn slugify sniffio
    sortedcontainers sqlalchemy src starlette tabulate tblib test tests text_unidecode threadpoolctl tlz toml toolz
    tornado typeguard typer types_pytz types_pyyaml types_requests typing_extensions typing_inspect
    typing_inspection tzdata tzlocal uncalled_for urllib3 uv uvicorn virtualenv websockets wheel whenever wrapt yaml
    yaml_stubs zict
    activate deactivate
    """.split()  # noqa: SIM905  as a list it would fill pages
)


def check_answers(answers: Mapping[str, str]) -> str:
    """Refuse bad answers while cookiecutter still asks: nothing has been written then, not even a folder.

    cookiecutter prints what is raised here, the exception that it raises itself for a failed hook, as one line.
    Where no questions are asked (a replay), hooks/pre_gen_project.py calls this.

    Args:
        answers: The answers given so far; those not given yet are not checked.

    Returns:
        The empty string, so that it can be called where cookiecutter renders something.

    Raises:
        FailedHookException: With one line that names the answer and says how to mend it.
    """
    problem = find_problem(answers)
    if problem:
        raise FailedHookException(problem)
    return ""


def find_problem(answers: Mapping[str, str]) -> str | None:
    """Say what is wrong with the first bad answer.

    Args:
        answers: Answers by the names of the prompts; a missing one is not looked at.

    Returns:
        One line with the prompt's name, what is wrong with the answer, and what would do; None where all do.
    """
    checks = {
        "project_name": _text_problem,
        "project_slug": _slug_problem,
        "package_name": _package_problem,
        "description": _text_problem,
        "author_name": lambda answer: None if answer == "" else _text_problem(answer),
        "prefect_version": lambda answer: (
            None if answer in ("3", "1") else "is neither 3 nor 1; take 3"
        ),
        "prefect_project": _project_problem,
        "schedule_hours": _hours_problem,
    }
    for prompt, check in checks.items():
        if prompt in answers:
            problem = check(str(answers[prompt]))
            if problem:
                return f"{prompt}: {_shown(answers[prompt])} {problem}"
    return None


def quoted(text: str) -> str:
    r"""Write `text` as a double-quoted string that JSON, TOML, YAML and Python all read as the same text.

    Plain JSON would not do: it writes an emoji as two surrogates, which TOML refuses and YAML misreads.
    What is not printable in the basic plane is written as \uXXXX, which all four know: DEL (refused by TOML)
    and the Unicode line ends (folded by YAML) are among it.
    """
    return "".join(
        each if each.isprintable() or ord(each) > 0xFFFF else f"\\u{ord(each):04x}"
        for each in json.dumps(text, ensure_ascii=False)
    )


def markdown(text: str) -> str:
    """Write `text` as one line of Markdown that shows it as it is: no markup, no HTML, no line break."""
    line = " ".join(text.split())
    line = line.translate({ord(each): f"\\{each}" for each in "\\`*_[]<>&#|~$"})
    # A list, a quotation or an underline begins with these, but only at the start of a line.
    return re.sub(r"^(\d{0,9})([-+=.)])", r"\1\\\2", line)


def saved_answers(answers: Mapping[str, str]) -> str:
    """Write the answers, and the template's version, as the JSON that cookiecutter reads with --config-file.

    Nothing else is in it: cookiecutter's context also holds absolute paths.
    """
    lines = [
        f"    {quoted(name)}: {quoted(answers[name])}"
        for name in answers
        if not name.startswith("_")
    ]
    version = quoted(answers["_template_version"])
    return (
        f'{{\n  "template_version": {version},\n  "default_context": {{\n'
        + ",\n".join(lines)
        + "\n  }\n}"
    )


def variant_file(answers: Mapping[str, str], name: str) -> str:
    """The file `locks/prefect-N/NAME` of the chosen variant, without its last line break, as the caller has one.

    In it `<< cookiecutter.x >>` stands for an answer, and that is all: Jinja would take longer to read locked
    requirements than to render all the rest.
    """
    # While it renders files cookiecutter is in the folder of the template that is named after the project.
    path = Path("..", "locks", f"prefect-{answers['prefect_version']}", name)
    text = path.read_text(encoding="utf-8").removesuffix("\n")
    return re.sub(r"<< cookiecutter\.(\w+) >>", lambda match: answers[match[1]], text)


class TemplateExtension(Extension):
    """Adds the filters `check_answers`, `quoted`, `markdown`, `saved_answers` and `variant_file`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        for function in (check_answers, quoted, markdown, saved_answers, variant_file):
            environment.filters[function.__name__] = function


def _shown(answer: str) -> str:
    """The answer as a person can read it in one line, whatever is in it."""
    return ascii(answer) if len(answer) <= MAX_NAME else ascii(answer[:MAX_NAME] + "...")


def _text_problem(answer: str) -> str | None:
    if not answer.strip():
        return "is empty; give a few words"
    if len(answer) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters; shorten it"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in answer):
        return "is not valid UTF-8; type it again"
    if any(ord(character) < 32 and character not in "\t\n\r" for character in answer):
        return "holds a control character; leave it out"
    return None


def _name_problem(answer: str) -> str | None:
    if not answer:
        return "is empty; give a name"
    if len(answer) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters; shorten it"
    if answer == "conftest" or answer.startswith(("test_", "test-")):
        return "is the name of a test module; choose another"
    name = answer.replace("-", "_")
    if name in sys.stdlib_module_names:
        return "is the name of a module of Python itself; choose another"
    if name in TAKEN:
        return "is the name of a package that the project needs; choose another"
    return None


def _slug_problem(answer: str) -> str | None:
    if answer and not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", answer, re.ASCII):
        return "is no plain name; use lower-case letters and digits, joined by single hyphens, a letter first"
    return _name_problem(answer)


def _package_problem(answer: str) -> str | None:
    if keyword.iskeyword(answer):
        return "is a keyword of Python; choose another"
    if answer and not re.fullmatch(r"[a-z][a-z0-9_]*", answer, re.ASCII):
        return "cannot be imported; use lower-case letters, digits and underscores, a letter first"
    return _name_problem(answer)


def _project_problem(answer: str) -> str | None:
    problem = _text_problem(answer)
    if problem:
        return problem
    # What Prefect 3 refuses in the name of a work pool (prefect.types.names), and what no table could show.
    if (
        answer != answer.strip()
        or answer.startswith("-")
        or len(answer) > MAX_NAME
        or any(c in "/%&<>" or ord(c) < 32 for c in answer)
    ):
        return f"will not do; use up to {MAX_NAME} characters, none of / % & < >, no - in front, no space at an end"
    if answer.lower().startswith("prefect"):
        return "begins with 'prefect', which Prefect keeps for itself; choose another"
    return None


def _hours_problem(answer: str) -> str | None:
    if not re.fullmatch(r"[0-9]{1,4}", answer, re.ASCII):
        return "is not a whole number of hours from 0 to 9999; 24 is once a day, 0 is no schedule"
    return None
