"""Keeps the chosen variant's files and says what comes next."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

# The answers as data, as in pre_gen_project.py.
ANSWERS = r"""<< cookiecutter | tojson >>"""


def lay_variant(project: Path, prefect_version: str) -> None:
    """Lay `variants/prefect-N` over the project and remove all variants.

    Where the project was generated over itself with --skip-if-file-exists, cookiecutter has kept every file
    that was there, and so does this.

    Args:
        project: The generated project's folder.
        prefect_version: The answer "1" or "3".
    """
    variants = project / "variants"
    before = variants / "before"
    saved = project / ".cookiecutter.json"
    skip = before.exists() and before.read_text() == str(saved.stat().st_mtime_ns)
    chosen = variants / f"prefect-{prefect_version}"
    for file in sorted(path for path in chosen.rglob("*") if path.is_file()):
        target = project / file.relative_to(chosen)
        if not (skip and target.exists()):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    before.unlink(missing_ok=True)
    for variant in variants.glob("prefect-*"):
        shutil.rmtree(variant)
    if not any(variants.iterdir()):
        variants.rmdir()


def next_steps(project: Path) -> str:
    """Say in a few lines what a person does first."""
    return (
        f"\nYour project is in {project}. Next:\n\n"
        f"    cd {project.name}\n"
        "    make setup       # a virtual environment with the locked requirements\n"
        "    make test        # its own tests, a few seconds, no network\n"
        "    make evaluate    # evaluate the model: downloads the ticket log (2.4 MB) once\n\n"
        "README.md says the rest, and which two files hold your data and your model.\n"
    )


def main(answers: Mapping[str, str], project: Path) -> int:
    """Finish the project that cookiecutter has just written.

    Args:
        answers: cookiecutter's answers by prompt.
        project: The generated project's folder.

    Returns:
        The hook's exit code.
    """
    lay_variant(project, answers["prefect_version"])
    print(next_steps(project))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(ANSWERS), Path.cwd()))
