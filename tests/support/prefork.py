"""Run a project's commands, each in a process that need not import pandas or Prefect anew.

Run by the project's Python, with the package and modules of it to import as arguments. Reads jobs
as JSON from stdin, a line each: `args`, `env`, `cwd`, `before` (Python that runs in the new process
first), `limit` (seconds), and `project`. That is null for the package itself, else another project
with the same requirements: its `package`, `paths`, `python` and `command`. Answers with a line.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import chdir


def run_job(job, package):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.environ.clear()
                os.environ.update(job["env"])
                os.chdir(job["cwd"])
                sys.argv = ["command", *job["args"]]
                if job["project"]:
                    package = become(job)
                exec(job["before"], {})
                importlib.import_module(f"{package}.__main__").main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        end = time.monotonic() + job["limit"]
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.005)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return {
        "returncode": os.waitstatus_to_exitcode(ended[1]),
        "stdout": texts[0],
        "stderr": texts[1],
    }


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
        with chdir(folder):  # Prefect reads its settings when it is imported, which it is already
            importlib.import_module("prefect.context").refresh_global_settings_context()
    except Exception:
        os.execve(project["command"], [project["command"], *job["args"]], job["env"])
    return project["package"]


if __name__ == "__main__":
    own, *modules = sys.argv[1:]
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        if job["project"]:  # of which this package is no part
            for name in [*sys.modules]:
                if name.partition(".")[0] == own:
                    del sys.modules[name]
        print(json.dumps(run_job(job, own)), flush=True)
