"""`make lock`: renew the hash-locked requirements of the template's tools and of both variants."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ROOT / "locks"
LOCKS = ("requirements.txt", "requirements-dev.txt")
OWN = "uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate"


def main() -> None:
    """Lock everything; a variant is locked by the `make lock` of the project that it generates.

    Raises:
        subprocess.CalledProcessError: When there is no solution; uv has said why.
    """
    options = ["--upgrade", "--custom-compile-command", "make lock", "--group", "dev"]
    command = [*OWN.split(), *options, "--output-file", "requirements-dev.txt"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for variant in sorted(VARIANTS.glob("prefect-*")):
        with tempfile.TemporaryDirectory() as folder:
            project = Path(
                cookiecutter(
                    str(ROOT),
                    no_input=True,
                    accept_hooks=False,
                    extra_context={"prefect_version": variant.name.removeprefix("prefect-")},
                    output_dir=folder,
                )
            )
            lock = ["make", "lock", "UPGRADE=--upgrade"]
            subprocess.run(lock, cwd=project, check=True, stdout=subprocess.DEVNULL)
            for name in LOCKS:
                shutil.copy(project / name, variant / name)
                packages = (variant / name).read_text().count("==")
                print(f"{variant.name}/{name}: {packages} packages")


if __name__ == "__main__":
    main()
