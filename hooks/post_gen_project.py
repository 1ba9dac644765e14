"""Connects the project to Prefect, and says what comes next.

Whatever fails here, the project stays: cookiecutter would remove it if this ended with an error.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # to be quick, this imports only what Python has imported at its start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Runner = Callable[[list[str], str, Mapping[str, str]], int]

PREFECT_VERSION = "<< cookiecutter.prefect_version >>"  # checked by now: 1 or 3

# What in the environment names a Prefect to connect to, by variant; the key comes first.
CREDENTIALS = {
    "3": ("PREFECT_API_KEY", "PREFECT_API_URL"),
    "1": ("PREFECT_USER_TOKEN", "PREFECT__CLOUD__API", "PREFECT__SERVER__ENDPOINT"),
}
KEY_PROMPT = {
    "3": "Paste your Prefect Cloud API key (hidden), or press Enter if you have no account: ",
    "1": "Paste the API key of your Prefect 1 (hidden), or press Enter to connect later: ",
}
WITHOUT_KEY = {
    "3": "Then run `make server` in a second terminal: a local Prefect, which needs no account.",
    "1": "Then set PREFECT_USER_TOKEN and run `make connect` when you have a key.",
}
LIMIT = 1200  # seconds for a command; installing over a slow line takes minutes


def decide(prefect_version: str, environment: Mapping[str, str], on_terminal: bool) -> str:
    """Decide whether to connect now.

    Args:
        prefect_version: The answer.
        environment: `PREFECT_CONNECT` decides: `never`, `ask`, or `auto`, which connects where the
            environment names a Prefect. Not set, it is `auto` where one is named, else `ask`.
        on_terminal: Whether there is somebody to ask.

    Returns:
        `connect`, `ask` or `never`.
    """
    given = any(environment.get(name) for name in CREDENTIALS[prefect_version])
    decision = environment.get("PREFECT_CONNECT") or ("auto" if given else "ask")
    if decision == "auto":
        return "connect" if given else "never"
    if decision not in ("never", "ask"):
        problem = f"PREFECT_CONNECT must be never, auto or ask, not {decision!r}; not connecting"
        print(problem, file=sys.stderr)
    return "ask" if decision == "ask" and on_terminal else "never"


def ask_on_terminal(
    prefect_version: str, project: str, environment: Mapping[str, str]
) -> dict[str, str] | None:
    """Ask whether to connect and, where the environment names no Prefect, for a key.

    Nothing has been installed by then.

    Returns:
        The environment variables to connect with, which may be none; None to connect later.
    """
    print(
        f"\nConnecting installs the locked requirements into {os.path.basename(project)}/.venv "
        "(about 900 MB), logs\nin to Prefect, and creates the Prefect project there."
    )
    if input("Connect now? [y/N] ").strip().lower() not in ("y", "yes"):
        return None
    if any(environment.get(name) for name in CREDENTIALS[prefect_version]):
        return {}
    from getpass import getpass

    key = getpass(KEY_PROMPT[prefect_version]).strip()
    if not key:
        print(WITHOUT_KEY[prefect_version])
        return None
    return {CREDENTIALS[prefect_version][0]: key}


def run_command(command: list[str], project: str, extra: Mapping[str, str]) -> int:
    """Run a command in the project, with `extra` added to its environment; never raises.

    Returns:
        Its exit code; 124 when it took longer than the limit, 127 when it could not be started,
        130 when interrupted.
    """
    import subprocess

    environment = {**os.environ, **extra}
    try:
        return subprocess.run(
            command, cwd=project, env=environment, check=False, timeout=LIMIT
        ).returncode
    except subprocess.TimeoutExpired:
        return 124
    except OSError:
        return 127
    except KeyboardInterrupt:
        return 130


def connect(project: str, extra: Mapping[str, str], run: Runner = run_command) -> bool:
    """Install the project and run its own `connect`, which reports errors in one line itself.

    Args:
        project: The generated project's folder.
        extra: Environment variables to connect with.
        run: Runs a command in a folder with additions to the environment; returns its exit code.

    Returns:
        Whether the project is connected.
    """
    name = os.path.basename(project)
    # The Makefile looks for another Python where cookiecutter's own is too old.
    python = [f"PYTHON={sys.executable}"] if sys.version_info >= (3, 11) else []
    steps = [
        ("setup", "its requirements could not be installed"),
        ("connect", "it is not connected"),
    ]
    problem = "" if os.access(project, os.W_OK) else f"{name} cannot be written to"
    for target, failure in steps:
        code = 0
        if not problem:
            code = run(["make", "--no-print-directory", target, *python], project, extra)
        if code:
            problem = f"{failure} ({'make was not found' if code == 127 else f'exit code {code}'})"
    if problem:
        again = f"cd {name} && make connect"
        print(f"The project is complete, but {problem}. To try again: {again}", file=sys.stderr)
    return not problem


def next_steps(project: str, prefect_version: str, connected: bool) -> str:
    """Say in a few lines what a person does first."""
    steps = [
        f"cd {os.path.basename(project)}",
        "git init && git add -A && git commit -m Generate    # to merge template updates later",
        "make setup       # installs the locked requirements, about 900 MB",
        "make evaluate    # evaluates the model here and now; downloads the log (2.4 MB) once",
    ]
    if not connected:
        steps.append("make connect     # logs in to Prefect and creates the Prefect project")
        if prefect_version == "3":
            steps.append("                 # no account? run `make server` in a second terminal")
        else:
            steps.append("                 # .env.example says how to name your Prefect 1 server")
    steps.append("make register    # registers the flow, with its schedule")
    if prefect_version == "3":
        steps.append("make worker      # in a terminal of its own: executes the runs")
    steps.append("make run         # runs the flow now, and shows its log")
    lines = "\n".join(f"    {step}" for step in steps)
    return f"\nYour project is in {project}. Next:\n\n{lines}\n\nREADME.md has the rest."


def main(prefect_version: str, project: str) -> None:
    """Finish the project that cookiecutter has just written.

    Args:
        prefect_version: The answer.
        project: The generated project's folder.
    """
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    decision = decide(prefect_version, os.environ, on_terminal)
    extra: dict[str, str] | None = {} if decision == "connect" else None
    if decision == "ask":
        try:
            extra = ask_on_terminal(prefect_version, project, os.environ)
        except EOFError:
            print("\nNot connecting, as the input has ended.")
    connected = extra is not None and connect(project, extra)
    print(next_steps(project, prefect_version, connected), flush=True)


if __name__ == "__main__":
    problem = ""
    try:
        main(PREFECT_VERSION, os.getcwd())
    except KeyboardInterrupt:
        problem = "interrupted"
    except Exception as error:  # nobody reads the output any more, say
        problem = str(error)
    try:
        if problem:
            rest = f"the hook stopped ({problem}); README.md has the rest"
            print(f"\nThe project is complete, but {rest}.", file=sys.stderr)
    finally:
        os._exit(0)  # whatever happened; an output that cannot be flushed would be an error, too
