"""Time one trial by a generated project: `project_trial.py PACKAGE ZIP`.

Prints as JSON the seconds of the trial, of the same trial without intervals, baseline, segments and
gate, as the seed's is, and of each step of the process.
"""

import importlib
import json
import os
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
    os.environ["TRIALS_URL"] = trials
    selection = load("evaluation.selection").make_selection(log)
    start = time.perf_counter()
    trial = pipeline.run_trial(selection)
    total = time.perf_counter() - start
assert trial.num_obs == 1000

# What the seed's flow does, by the same functions: rows, target, prediction, metrics, a summary.
data, model, files = load("data"), load("model"), load("evaluation.files")
metrics = load("metrics").SCORING.metrics
with tempfile.TemporaryDirectory() as trials:
    start = time.perf_counter()
    batch = data.get_ticket_data_batch(selection)
    actual, predicted = data.get_target(batch), model.predict(batch)
    values = {
        name: metric.function(actual.to_numpy(), predicted.to_numpy())
        for name, metric in metrics.items()
    }
    target = actual.agg(["mean", "median", "min", "max"]).to_dict()
    summary = {"num_obs": len(batch), "metrics": values, "target": target}
    content = json.dumps(summary).encode()
    files.atomic_write(files.Path(trials) / "trial.json", content, replace=False)
    plain = time.perf_counter() - start
print(json.dumps({"seconds": total, "plain": plain, "steps": steps}))
