"""Renew the hash-locked requirements: the template's own, and those of each variant (`make lock`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ROOT / "locks"
LOCKS = ("requirements.txt", "requirements-dev.txt")
OWN = "uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate --upgrade"


def main() -> None:
    """Lock everything; a variant is locked by the `make lock` of the project that it generates.

    Raises:
        subprocess.CalledProcessError: When there is no solution; uv has said why.
    """
    command = [*OWN.split(), "--custom-compile-command", "make lock", "--group", "dev"]
    subprocess.run(
        [*command, "--output-file", "requirements-dev.txt"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    os.environ["PREFECT_CONNECT"] = "never"
    for variant in sorted(VARIANTS.glob("prefect-*")):
        version = variant.name.removeprefix("prefect-")
        with tempfile.TemporaryDirectory() as folder:
            answers = {"prefect_version": version}
            project = Path(
                cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=folder)
            )
            subprocess.run(
                ["make", "lock", "UPGRADE=--upgrade"],
                cwd=project,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            for name in LOCKS:
                shutil.copy(project / name, variant / name)
                print(
                    f"prefect-{version}/{name}: {(variant / name).read_text().count('==')} packages"
                )


if __name__ == "__main__":
    main()
