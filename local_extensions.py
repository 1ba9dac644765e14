"""The filters that the template's files and prompts use.

cookiecutter imports this through `_extensions` in cookiecutter.json, whether the template is a
folder, a zip or a git repository.
"""

from __future__ import annotations

import gc
import json
import re
import shlex
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CodeType

import click
from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

from answers import find_problems

TEMPLATE = Path(__file__).resolve().parent
FOLDER = "<<cookiecutter.project_slug>>"
STARTS = ("<<", "<%", "<#")  # of what Jinja renders, as cookiecutter.json has it

# What cookiecutter has imported by now stays until it ends: searching it for garbage, again and
# again, would take a tenth of the time that scaffolding takes.
gc.freeze()


def ask_again(answers: dict[str, str]) -> str:
    """Where questions are asked on a terminal, ask again for each answer that cannot be used.

    Args:
        answers: The answers so far, by prompt. They are changed.

    Returns:
        The empty string, so that it can stand where cookiecutter renders something between prompts.

    Raises:
        click.Abort: On Ctrl-C, and at the end of the input.
    """
    while _asking() and sys.stdin.isatty() and (problems := find_problems(answers)):
        prompts = json.loads((TEMPLATE / "cookiecutter.json").read_text())["__prompts__"]
        for prompt, problem in problems.items():
            may_be_empty = not find_problems({prompt: ""})
            click.secho(f"  {problem}", fg="red")
            answers[prompt] = click.prompt(
                f"  {prompts[prompt]}", default="" if may_be_empty else None, show_default=False
            )
    return ""


def check_answers(answers: dict[str, str]) -> str:
    """Refuse answers that cannot be used before anything is written, not even a folder.

    cookiecutter prints the message of what is raised here, the exception that it raises itself for
    a failed hook.

    Args:
        answers: All answers, by prompt.

    Returns:
        The empty string, so that it can stand where cookiecutter renders something.

    Raises:
        FailedHookException: With a line for each bad answer and, where questions were asked, the
            command that repeats the good ones.
    """
    problems = find_problems(answers)
    if not problems:
        return ""
    lines = list(problems.values())
    if template := _asking():
        good = [
            f"{name}={answer}"
            for name, answer in answers.items()
            if not name.startswith("_") and not find_problems({name: answer})
        ]
        command = shlex.join(["cookiecutter", template, *good])
        lines.append(f"To keep the other answers, run: {command}")
    raise FailedHookException("\n".join(lines))


def _asking() -> str:
    """The template as the user named it to a `cookiecutter` that asks questions; else empty."""
    context = click.get_current_context(silent=True)
    options = {} if context is None else context.params
    quiet = any(options.get(name) for name in ("no_input", "replay", "replay_file"))
    return "" if quiet else options.get("template", "")


def quoted(text: str) -> str:
    r"""Write `text` as a double-quoted string that JSON, TOML, YAML and Python all read alike.

    Plain JSON would not do: it writes an emoji as two surrogates, which TOML refuses and YAML
    misreads. What cannot be printed in the basic plane is written as \uXXXX, which all four know.
    That includes DEL (refused by TOML) and Unicode's line ends (folded by YAML).
    """
    return "".join(
        each if each.isprintable() or ord(each) > 0xFFFF else f"\\u{ord(each):04x}"
        for each in json.dumps(text, ensure_ascii=False)
    )


def markdown(text: str) -> str:
    """Write `text` as one line of Markdown that shows it as it is: no markup, no HTML."""
    line = " ".join(text.split())
    line = line.translate({ord(each): f"\\{each}" for each in "\\`*_[]<>&#|~$"})
    # A list, a quotation or an underline begins with these, but only at the start of a line.
    return re.sub(r"^(\d{0,9})([-+=.)])", r"\1\\\2", line)


def saved_answers(answers: Mapping[str, str]) -> str:
    """Write the answers and the template's version for cookiecutter's --config-file, as JSON.

    It holds nothing else: cookiecutter's context also has absolute paths.
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


def locked_requirements(answers: Mapping[str, str], name: str) -> str:
    """Read the chosen variant's `locks/prefect-N/NAME`, without the last line break.

    As a Jinja template or include they would take longer to render than everything else.
    """
    path = TEMPLATE / "locks" / f"prefect-{answers['prefect_version']}" / name
    return path.read_text(encoding="utf-8").removesuffix("\n")


def compile_literal(text: str) -> CodeType:
    """Compile a source without Jinja to a template, which yields the text as it is.

    Jinja takes ten times as long, and half of the files and names are such sources.
    """
    names = "name, blocks, debug_info = None, {}, ''"
    return compile(f"{names}\ndef root(context): yield {text!r}", "<literal>", "exec")


class TemplateExtension(Extension):
    """Adds the filters above, and checks the answers before anything is written."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        filters = (ask_again, check_answers, quoted, markdown, saved_answers, locked_requirements)
        environment.filters |= {function.__name__: function for function in filters}
        compile_template = environment.compile

        def compile_source(
            source: str, name: str | None = None, filename: str | None = None
        ) -> CodeType:
            if any(start in source for start in STARTS):
                return compile_template(source, name, filename)
            return compile_literal(source)

        environment.compile = cache(compile_source)  # type: ignore[assignment, method-assign]

    def preprocess(self, source: str, *_: object) -> str:
        """Check the answers where the project's folder is named, as a replay renders no prompts.

        A hook would do the same later, in a process of its own, and with a traceback.
        """
        return f"{source}<< cookiecutter | check_answers >>" if source == FOLDER else source
