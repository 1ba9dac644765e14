"""Run a project's commands, each in a process that need not import pandas or Prefect anew.

Run by the project's Python, with the package and modules of it to import as arguments. Reads jobs
as JSON from stdin, a line each: `args`, `env`, `cwd`, `before` (Python that runs in the new process
first), `code` (Python that runs in place of the command), `limit` (seconds), and `project`. That is
null for the package itself, else another project with the same requirements: its `package`,
`paths`, `python` and `command`. Answers with a line.
"""

import functools
import gc
import importlib
import io
import json
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import chdir, redirect_stdout

real_run = subprocess.run


def run_job(job, package):
    def work():
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        sys.argv = ["-c" if job["code"] else "command", *job["args"]]
        load = make_loader() if job["args"][:1] == ["register"] else None
        name = become(job) if job["project"] else package
        subprocess.run = functools.partial(run_or_fork, load)
        exec(job["before"], {})
        if job["code"]:
            return exec(job["code"], {"__name__": "__main__"})
        importlib.import_module(f"{name}.__main__").main()

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = fork(work, out, err, job["limit"])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return {"returncode": status, "stdout": texts[0], "stderr": texts[1]}


def fork(work, out, err, limit):
    """Call a function in a new process; returns its exit code, -9 if it took too long."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            work()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + limit
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.005)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended[1])


def run_or_fork(load, command, **options):
    """What `register` calls, as subprocess.run: its processes need not import all anew."""
    if load and [*map(os.path.basename, command[3:4])] == ["pickle_check.py"]:
        return load(command, options)
    if [*command[1:3], *command[4:5]] != ["-m", "prefect", "deploy"]:
        return real_run(command, **options)

    def deploy():
        os.environ.update(options["env"])
        os.chdir(options["cwd"])
        sys.argv = ["prefect", *command[3:]]
        importlib.import_module("prefect.cli").app()

    with tempfile.TemporaryFile() as out:
        code = fork(deploy, out, out, options["timeout"])
        out.seek(0)
        text = out.read().decode()
    if code == -signal.SIGKILL:
        raise subprocess.TimeoutExpired(command, options["timeout"])
    return subprocess.CompletedProcess(command, code, text, "")


def make_loader():
    """Fork a process that never has the project's package, as pickle_check.py's must not.

    Returns:
        A function that runs that file there; it takes what subprocess.run would.
    """
    ours, its = socket.socketpair()
    if os.fork() == 0:
        code = 1
        try:
            ours.close()
            command, options = pickle.loads(its.makefile("rb").read() or os._exit(0))
            os.chdir(options["cwd"])
            sys.argv, sys.path[:] = command[3:], command[5:]
            sys.stdin, printed = io.TextIOWrapper(io.BytesIO(options["input"])), io.StringIO()
            with redirect_stdout(printed):
                runpy.run_path(sys.argv[0], run_name="__main__")
            its.sendall(b"good" + printed.getvalue().encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    its.close()

    def load(command, options):
        ours.sendall(pickle.dumps((command, {name: options[name] for name in ("cwd", "input")})))
        ours.shutdown(socket.SHUT_WR)
        answer = ours.makefile("rb").read()
        if not answer.startswith(b"good"):
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, answer.removeprefix(b"good"), None)

    return load


def become(job):
    """Go on as another project; what fails before its command begins is left to its own process."""
    project = job["project"]
    sys.path[:0] = project["paths"]
    sys.executable = project["python"]
    try:
        if f"/python{sys.version_info[0]}.{sys.version_info[1]}/" not in project["paths"][1]:
            raise ImportError("its packages are for another Python")
        importlib.import_module(f"{project['package']}.orchestration")
        folder = importlib.import_module(f"{project['package']}.settings").project_folder()
        if "prefect.settings" in sys.modules:  # of Prefect 3, which reads them when it is imported
            with chdir(folder):
                importlib.import_module("prefect.context").refresh_global_settings_context()
    except Exception:
        command = [project["python"], "-c", job["code"]] if job["code"] else [project["command"]]
        os.execve(command[0], [*command, *job["args"]], job["env"])
    return project["package"]


if __name__ == "__main__":
    own, *modules = sys.argv[1:]
    del sys.path[0]  # this folder
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # else to look for garbage would copy all memory in each new process
    for line in sys.stdin:
        job = json.loads(line)
        if job["project"]:  # of which this package is no part
            for name in [*sys.modules]:
                if name.partition(".")[0] == own:
                    del sys.modules[name]
        print(json.dumps(run_job(job, own)), flush=True)
