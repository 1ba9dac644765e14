"""Runs a project's command many times, each time in a process of its own that need not import pandas anew.

Run by the project's Python, with the package as argument. Reads jobs as JSON from stdin, a line each: `args`,
`env`, `before` (Python that runs in the new process first) and `limit` (seconds); answers each with a line.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback


def run_job(job, main):
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
                sys.argv = ["command", *job["args"]]
                exec(job["before"], {})
                main()
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


if __name__ == "__main__":
    importlib.import_module(f"{sys.argv[1]}.pipeline")
    importlib.import_module("requests")
    command = importlib.import_module(f"{sys.argv[1]}.__main__")
    for line in sys.stdin:
        print(json.dumps(run_job(json.loads(line), command.main)), flush=True)
