"""Time one trial by a generated project: `project_trial.py PACKAGE ZIP`.

Prints the seconds of the trial, and of each step of the process, as JSON.
"""

import importlib
import json
import sys
import tempfile
import time

package, log = sys.argv[1:]
steps = {}


def timed(module, name):
    function = getattr(module, name)

    def call(*arguments, **options):
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            steps[name] = steps.get(name, 0.0) + time.perf_counter() - start

    setattr(module, name, call)


def step(name, work):
    start = time.perf_counter()
    work()
    steps[name] = time.perf_counter() - start


def load(name):
    return importlib.import_module(f"{package}.{name}")


step("import pandas", lambda: importlib.import_module("pandas"))
step("import sklearn.metrics", lambda: importlib.import_module("sklearn.metrics"))
step("import everything else", lambda: [load("cli"), load("pipeline")])
pipeline = load("pipeline")
for name in (
    "get_ticket_data_batch",
    "get_target",
    "predict",
    "evaluate_model",
    "get_trial_summary",
    "write_trial_summary",
):
    timed(pipeline, name)
with tempfile.TemporaryDirectory() as trials:
    start = time.perf_counter()
    selection = load("evaluation.selection").make_selection(log)
    trial = pipeline.run_trial(selection, place=trials, flow_name="bench")
    total = time.perf_counter() - start
assert trial.num_obs == 1000
print(json.dumps({"seconds": total, "steps": steps}))
