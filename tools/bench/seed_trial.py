"""Time one trial by the seed document's own code: `seed_trial.py DOCUMENT ZIP`.

The code blocks are read out of the document and run as they stand. Prefect is replaced by the
little of it that they touch, so that what is timed is theirs; requests.get answers at once with the
file's bytes. Prints the seconds.
"""

import contextlib
import logging
import os
import re
import sys
import time
import types
import warnings
from pathlib import Path

import requests

document, log = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])


def task(function=None, **options):
    return function or task


prefect = types.ModuleType("prefect")
prefect.task = task
prefect.Flow = lambda name: contextlib.nullcontext()
prefect.Parameter = lambda name, default: default
prefect.context = {"logger": logging.getLogger("seed")}
schedules = types.ModuleType("prefect.schedules")
schedules.IntervalSchedule = None
sys.modules.update({"prefect": prefect, "prefect.schedules": schedules})
requests.get = lambda url: types.SimpleNamespace(content=log.read_bytes())
os.environ.update(PREFECT_CLOUD_PROJECT_NAME="bench", SATURN_USERNAME="bench")
warnings.simplefilter("ignore")

blocks = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
imports, tasks, flow = (
    next(block for block in blocks if mark in block)
    for mark in ("import pandas", "def get_ticket_data_batch", "with Flow(")
)
names = {}
exec(imports, names)
exec(tasks, names)
start = time.perf_counter()
exec(flow, names)
print(time.perf_counter() - start)
assert names["trial_summary"]["data"]["num_obs"] == 100
