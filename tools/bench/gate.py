"""Measure on UCI's log how well intervals and the gate work (`make bench-gate LOG=...`).

What is measured is the code of a generated project, in its environment. It takes some minutes, and
prints Markdown tables.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ticket_model_evaluation"


def main() -> None:
    """Generate a project, install it, and run gate_tables.py there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    log = parser.parse_args().log.resolve()
    if not log.is_file():
        parser.error(f"there is no file {log}")
    with tempfile.TemporaryDirectory() as folder:
        print("Making a project ...", file=sys.stderr)
        project = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        setup = ("make", "--silent", "-C", project, "setup", f"PYTHON={sys.executable}")
        subprocess.run(setup, check=True, stdout=sys.stderr)
        tables = Path(__file__).with_name("gate_tables.py")
        subprocess.run((project / ".venv/bin/python", tables, PACKAGE, log), check=True)


if __name__ == "__main__":
    main()
