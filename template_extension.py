"""What the template's files and prompts need of Jinja beyond what cookiecutter brings.

cookiecutter loads this through `_extensions` in cookiecutter.json, which it has done for modules beside that
file since its version 2.1.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

_hook = importlib.util.spec_from_file_location(
    "ticket_template_pre_gen_project", Path(__file__).parent / "hooks" / "pre_gen_project.py"
)
assert _hook is not None
assert _hook.loader is not None
pre_gen_project = importlib.util.module_from_spec(_hook)
_hook.loader.exec_module(pre_gen_project)


def check_answers(answers: Mapping[str, str]) -> str:
    """Refuse bad answers while cookiecutter still asks: nothing has been written then, not even a folder.

    The checks are those of hooks/pre_gen_project.py, which stands guard where no questions are asked (a
    replay). A failing hook costs the reader cookiecutter's traceback; the exception raised here, the one that
    cookiecutter itself raises for a failed hook, is printed as its one line.

    Args:
        answers: The answers given so far; those not given yet are not checked.

    Returns:
        The empty string, so that it can be called where cookiecutter renders a private variable.

    Raises:
        FailedHookException: With one line that names the answer and says how to mend it.
    """
    problem = pre_gen_project.find_problem(answers)
    if problem:
        raise FailedHookException(problem)
    return ""


def quoted(text: str) -> str:
    r"""Write `text` as a double-quoted string that JSON, TOML, YAML and Python all read as the same text.

    Plain JSON would not do: it writes an emoji as two surrogates, which TOML refuses and YAML misreads.
    What is not printable in the basic plane is written as \uXXXX, which all four know: DEL (refused by TOML)
    and the Unicode line ends (folded by YAML) are among it.
    """
    return re.sub(
        r"[\x7f-\uffff]",
        lambda match: match[0] if match[0].isprintable() else f"\\u{ord(match[0]):04x}",
        json.dumps(text, ensure_ascii=False),
    )


def markdown(text: str) -> str:
    """Write `text` as one line of Markdown that shows it as it is: no markup, no HTML, no line break."""
    line = " ".join(text.split())
    line = re.sub(r"([\\`*_\[\]<>&#|~$])", r"\\\1", line)
    # A list, a quotation or an underline begins with these, but only at the start of a line.
    return re.sub(r"^(?=[-+=])|(?<=^\d)(?=[.)])", r"\\", line)


class TemplateExtension(Extension):
    """Adds the filters `check_answers`, `quoted` and `markdown`."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters.update(check_answers=check_answers, quoted=quoted, markdown=markdown)
