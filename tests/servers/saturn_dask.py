"""A stand-in for Saturn Cloud's API for Dask clusters, as dask-saturn calls it.

It hands out the address of a real scheduler, and refuses what Saturn would refuse: fields, sizes or
numbers that it does not know (400); a cluster that does not exist (404). SaturnAPI, which serves
it, refuses another token.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

SIZES = {"medium": "Medium - 2 cores - 4 GB RAM", "large": "Large - 2 cores - 16 GB RAM"}
NUMBERS = {"n_workers", "nprocs", "nthreads"}
CHOICES = {"worker_size", "scheduler_size"}
OTHERS = {"worker_is_spot", "prefectcloudflowrun_id"}


class DaskAPI:
    """Clusters, each on the one scheduler that there is.

    Args:
        address: The scheduler's.

    Attributes:
        clusters: By id, what was asked for, and the `status`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.clusters: dict[str, dict[str, Any]] = {}

    def respond(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if (method, path) == ("GET", "/api/dask_clusters/info"):
            sizes = [{"name": name, "display": shown} for name, shown in SIZES.items()]
            return 200, {"server_options": {"size": sizes}}
        if (method, path) == ("POST", "/api/dask_clusters"):
            return self._open(json.loads(body))
        found = re.fullmatch(r"/api/dask_clusters/(\w+)(?:/(info|status|close))?", path)
        cluster = self.clusters.get(found[1]) if found else None
        if found is None or cluster is None:
            return 404, {"message": "cluster not found"}
        if (method, found[2]) == ("POST", "close"):
            if cluster["status"] != "running":
                return 400, {"message": "the cluster is not running"}
            cluster["status"] = "closed"
            return 200, {}
        if method != "GET" or found[2] == "close":
            return 405, {"message": "method not allowed"}
        if found[2] == "info":
            link = "http://127.0.0.1/dashboard"
            return 200, {"scheduler_address": self.address, "dashboard_link": link}
        return 200, {"status": cluster["status"]}

    def _open(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if unknown := asked.keys() - NUMBERS - CHOICES - OTHERS:
            return 400, {"message": f"unknown fields: {', '.join(sorted(unknown))}"}
        if any(type(asked.get(name, 1)) is not int or asked.get(name, 1) < 1 for name in NUMBERS):
            return 400, {"message": "not a positive whole number"}
        if any(asked.get(name, "medium") not in SIZES for name in CHOICES):
            return 400, {"message": "unknown size"}
        name = uuid.uuid4().hex
        self.clusters[name] = {**asked, "status": "running"}
        return 200, {"id": name, "status": "ready"}
