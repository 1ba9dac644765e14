"""A Dask cluster of two worker processes, run by a Python that does not have the project's package.

Prints its address. Then answers each line on stdin with a line of JSON: `tasks` with what was
computed since the last time, as names; `kill NAME` ends the worker that is next to compute a task
of that name, once, shortly after it began.
"""

import json
import os
import signal
import sys
import time

import distributed


class Recorder(distributed.SchedulerPlugin):
    """Notes what workers compute, and ends one of them if asked to."""

    def __init__(self):
        self.done = []
        self.to_kill = None

    def transition(self, key, start, finish, *args, **kwargs):
        name = str(key).partition("-")[0]
        if (start, finish) == ("processing", "memory"):
            self.done.append(name)
        if finish == "processing" and self.to_kill == name:
            self.to_kill = None
            worker = cluster.scheduler.tasks[key].processing_on
            pid = next(
                nanny.pid
                for nanny in cluster.workers.values()
                if nanny.worker_address == worker.address
            )
            cluster.loop.call_later(0.5, os.kill, pid, signal.SIGKILL)


if __name__ == "__main__":
    options = {"n_workers": int(sys.argv[1]), "dashboard_address": "127.0.0.1:0"}
    cluster = distributed.LocalCluster(threads_per_worker=1, **options)
    recorder = Recorder()
    cluster.scheduler.add_plugin(recorder)
    print(cluster.scheduler_address, flush=True)
    for line in sys.stdin:
        command, _, name = line.strip().partition(" ")
        if command == "kill":
            recorder.to_kill = name
        time.sleep(0.1)  # for what has just ended
        done, recorder.done = recorder.done, []
        print(json.dumps({"done": done, "killed": recorder.to_kill is None}), flush=True)
    cluster.close()
