"""A flow that Saturn executes on a Dask cluster of its own."""

from __future__ import annotations

import json
import os

import pytest
from dask_runs import cluster_of
from servers.saturn_dask import DaskAPI
from site_1 import Site

STEPS = ["read_parameters", "get_ticket_data_batch", "predict", "get_trial_summary"]


@pytest.mark.parametrize("how", ["dask-cluster", "dask-task"])
def test_saturn_executes_it_on_a_cluster_that_is_given_back(
    registered: Site, how: str, tmp_path
) -> None:
    site = registered
    options = ("--execution", how, "--workers", "2", "--worker-size", "large")
    if how == "dask-cluster":
        shown = json.loads(site.command("register", "--dry-run", *options).stdout)
        assert shown["environment"]["EXECUTION"] == how
        kwargs = {"n_workers": 2, "worker_size": "large", "shutdown_on_close": True}
        assert shown["dask_cluster_kwargs"] == kwargs
    result = site.command("register", *options)
    assert result.returncode == 0, result.stderr
    # The workers have the image, and neither the project nor its settings.
    with cluster_of(site.image / "bin" / "python", tmp_path / "cluster", dict(os.environ)) as found:
        address, workers = found
        site.saturn.dask = DaskAPI(address)
        run_id = site.run("seed=3", "batch-size=200")
        with site.checkout_away():
            site.execute_all()
        done = workers.ask("tasks")["done"]
    assert site.flow_run(run_id)["state"] == "Success", site.log(run_id)
    (opened,) = site.saturn.dask.clusters.values()
    assert opened == {"n_workers": 2, "worker_size": "large", "status": "closed"}
    if how == "dask-cluster":
        assert set(STEPS) <= set(done)
    else:
        assert done.count("call") == 1  # the sample is one block
    assert site.trials()[-1]["execution"] == how
