"""One trial by a generated project, timed: `project_trial.py PACKAGE ZIP`. Prints seconds, and each step's as JSON."""

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


step("import pandas", lambda: importlib.import_module("pandas"))
step("import sklearn.metrics", lambda: importlib.import_module("sklearn.metrics"))
step(
    "import everything else",
    lambda: [importlib.import_module(f"{package}.{name}") for name in ("__main__", "pipeline")],
)
pipeline, selection = (
    sys.modules[f"{package}.pipeline"],
    importlib.import_module(f"{package}.selection"),
)
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
    trial = pipeline.run_trial(selection.make_selection(log), trials=trials, flow="bench")
    total = time.perf_counter() - start
assert trial["data"]["num_obs"] == 1000
print(json.dumps({"seconds": total, "steps": steps}))
