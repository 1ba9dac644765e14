"""Measure on UCI's log how well intervals and the gate work (`make bench-gate LOG=...`).

What is measured is the code of a generated project, in its environment. It takes some minutes, and
prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT, PACKAGE = "ticket-model-evaluation", "ticket_model_evaluation"


def main() -> None:
    """Generate a project, install it, and run gate_tables.py there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    log = parser.parse_args().log.resolve()
    if not log.is_file():
        parser.error(f"there is no file {log}")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, PROJECT)
        run(sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "--output-dir", folder)
        run("make", "--silent", "-C", project, "setup", f"PYTHON={sys.executable}")
        tables = Path(__file__).with_name("gate_tables.py")
        subprocess.run((project / ".venv/bin/python", tables, PACKAGE, log), check=True)


def run(*command: str | Path) -> None:
    """Run a command whose output is no part of the tables."""
    env = {**os.environ, "PREFECT_CONNECT": "never"}
    subprocess.run(command, check=True, env=env, stdout=sys.stderr)


if __name__ == "__main__":
    main()
