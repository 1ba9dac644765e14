"""One trial of all rows of a log: `scale_trial.py PACKAGE LOG HOW`; HOW is single or dask.

Prints JSON: of each step the seconds, and this process's peak memory in MB by then; how many events
there were; and the metrics.
"""

import importlib
import json
import resource
import sys
import time
from contextlib import ExitStack

package, log, how = sys.argv[1:]
seconds, memory = {}, {}


def load(name):
    return importlib.import_module(f"{package}.{name}")


def timed(name, work):
    start = time.perf_counter()
    result = work()
    seconds[name] = time.perf_counter() - start
    memory[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return result


def main():
    pipeline = load("pipeline")
    selection = load("evaluation.selection").make_selection(log, batch_size=None)
    computed = None
    with ExitStack() as stack:
        if how == "dask":
            runner = load("orchestration.runner")
            client = timed("start", lambda: stack.enter_context(runner.open_cluster()))
            computed = timed("rows", lambda: runner.compute(client, selection))
    if how == "dask":
        batch = [timed("draw", lambda: pipeline.draw_batch(selection, computed))]
    else:
        batch = [timed("rows", lambda: pipeline.get_ticket_data_batch(selection))]

    def evaluate():  # as in run_trial, nobody else holds the rows
        return pipeline.evaluate_batch(batch.pop(), selection, "bench", computed=computed)

    trial, *_ = timed("trial", evaluate)
    found = {"seconds": seconds, "memory": memory, "metrics": trial.metrics}
    print(json.dumps({**found, "rows": trial.num_obs}))


if __name__ == "__main__":  # the cluster's workers import this file
    main()
