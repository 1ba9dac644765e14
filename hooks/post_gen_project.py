"""Connects the project to Prefect, and says what comes next.

Whatever fails here, the project stays: cookiecutter would remove it if this ended with an error.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if (
    TYPE_CHECKING
):  # scaffolding is to be quick: nothing is imported that Python has not imported at its start
    from collections.abc import Callable, Mapping

    Runner = Callable[[list[str], str], int]

PREFECT_VERSION = "<< cookiecutter.prefect_version >>"  # checked by now: 1 or 3

# What in the environment says that the user wants to be connected, by variant.
CREDENTIALS = {
    "3": ("PREFECT_API_KEY", "PREFECT_API_URL"),
    "1": ("PREFECT_USER_TOKEN", "PREFECT__CLOUD__API"),
}
LIMIT = 1200  # seconds for a command; installing over a slow line takes minutes


def wants_to_connect(
    prefect_version: str, environment: Mapping[str, str], ask: Callable[[], bool] | None
) -> bool:
    """Decide whether to connect now.

    Args:
        prefect_version: The answer.
        environment: `PREFECT_CONNECT` decides: `never`, `ask`, or `auto`, which connects where the environment holds
            credentials or an address. Not set: `auto`, and where it holds none and there is a terminal, `ask`.
        ask: Asks the user; None where there is no terminal.

    Returns:
        Whether to run the project's `connect`.
    """
    decision = environment.get("PREFECT_CONNECT", "")
    if decision not in ("", "never", "auto", "ask"):
        print(
            f"PREFECT_CONNECT: {decision!r} is none of never, auto, ask; not connecting",
            file=sys.stderr,
        )
        return False
    if decision == "never":
        return False
    given = any(environment.get(name) for name in CREDENTIALS[prefect_version])
    if decision == "auto" or (decision == "" and (given or ask is None)):
        return given
    return ask is not None and ask()


def ask_on_terminal(project: str) -> bool:
    """Say what connecting would do, and ask."""
    print(
        "Connecting now installs the locked requirements into "
        f"{os.path.basename(project)}/.venv (about 600 MB),\nlogs in to Prefect, and creates the Prefect project there."
    )
    try:
        return input("Connect now? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def run_command(command: list[str], project: str) -> int:
    """Run a command in the project; never raises.

    Returns:
        Its exit code; 124 when it took longer than the limit, 127 when it could not be started, 130 when interrupted.
    """
    import subprocess  # here, as most scaffolding connects nothing, and is to be quick

    try:
        return subprocess.run(command, cwd=project, check=False, timeout=LIMIT).returncode
    except subprocess.TimeoutExpired:
        return 124
    except OSError:
        return 127
    except KeyboardInterrupt:
        return 130


def connect(project: str, run: Runner = run_command) -> bool:
    """Install the project and run its own `connect`, which tells its errors in one line itself.

    Args:
        project: The generated project's folder.
        run: Runs a command in a folder and returns its exit code.

    Returns:
        Whether the project is connected.
    """
    name = os.path.basename(project)
    print(
        f"Installing the locked requirements into {name}/.venv, then connecting to Prefect ...",
        flush=True,
    )
    # cookiecutter's own Python, where it will do; it may be newer than what the requirements are locked for.
    python = [f"PYTHON={sys.executable}"] if (3, 10) <= sys.version_info[:2] < (3, 14) else []
    for target, problem in (
        ("setup", "its requirements could not be installed"),
        ("connect", "it is not connected"),
    ):
        code = run(["make", "--no-print-directory", target, *python], project)
        if code != 0:
            code_or_cause = "no make" if code == 127 else code
            again = f"cd {name} && make connect"
            print(
                f"The project is complete, but {problem} ({code_or_cause}). To try again: {again}",
                file=sys.stderr,
            )
            return False
    return True


def next_steps(project: str, prefect_version: str, connected: bool) -> str:
    """Say in a few lines what a person does first."""
    steps = [
        f"\nYour project is in {project}. Next:\n",
        f"    cd {os.path.basename(project)}",
        "    git init && git add -A && git commit -m Generate    # a newer template is merged from here",
        "    make evaluate    # evaluate the model here and now: downloads the ticket log (2.4 MB) once",
    ]
    if not connected:
        local = (
            ", or first `make server` elsewhere for a local one" if prefect_version == "3" else ""
        )
        steps.append(
            f"    make connect     # log in to Prefect and create the Prefect project{local}"
        )
    return "\n".join(
        [
            *steps,
            "    make register    # register the flow, with its schedule",
            "",
            "README.md says the rest.",
        ]
    )


def main(prefect_version: str, project: str) -> int:
    """Finish the project that cookiecutter has just written.

    Args:
        prefect_version: The answer.
        project: The generated project's folder.

    Returns:
        0: a project that is not connected is a project all the same.
    """
    ask = (lambda: ask_on_terminal(project)) if sys.stdin.isatty() and sys.stdout.isatty() else None
    connected = wants_to_connect(prefect_version, os.environ, ask) and connect(project)
    print(next_steps(project, prefect_version, connected))
    return 0


if __name__ == "__main__":
    sys.exit(main(PREFECT_VERSION, os.getcwd()))
