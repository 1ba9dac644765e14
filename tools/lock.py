"""Renew the hash-locked requirements: the template's own, and those of each variant (`make lock`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ROOT / "<<cookiecutter.project_slug>>" / "variants"
HEADER = "# Tested together, locked with hashes for Python 3.10 to 3.13. Renewed by `make lock` of the template.\n"


def compile_requirements(folder: Path, target: Path, *arguments: str) -> None:
    """Resolve to the newest versions that fit, for all platforms at once, without naming an index.

    Raises:
        subprocess.CalledProcessError: When there is no solution; uv has said why.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--upgrade", "--universal"]
    command += ["--python-version", "3.10", "--generate-hashes", "--no-header", "--no-annotate", *arguments]
    locked = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    target.write_text(HEADER + locked)
    print(f"{target.relative_to(ROOT)}: {locked.count('==')} packages")


def main() -> None:
    """Lock everything."""
    compile_requirements(ROOT, ROOT / "requirements-dev.txt", "--group", "dev")
    for variant in sorted(VARIANTS.glob("prefect-*")):
        version = variant.name.removeprefix("prefect-")
        with tempfile.TemporaryDirectory() as folder:
            answers = {"prefect_version": version}
            project = Path(cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=folder))
            compile_requirements(project, variant / "requirements.txt", "pyproject.toml")
            compile_requirements(
                project,
                variant / "requirements-dev.txt",
                *("--group", "dev", "--constraint", str(variant / "requirements.txt")),
            )


if __name__ == "__main__":
    main()
