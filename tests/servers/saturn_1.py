"""A stand-in for the part of Saturn Cloud that prefect-saturn calls."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from servers.loopback import StandIn, as_json
from servers.saturn_dask import DaskAPI

IMAGE = "saturncloud/saturn:2021.11.10"
LABELS = ["saturn-cloud", "webhook-flow-storage"]
SIZES = {"large": "Large - 2 cores - 16 GB RAM", "medium": "Medium - 2 cores - 4 GB RAM"}
FIELDS = {"name", "prefect_cloud_project_name", "flow_hash"}


class SaturnAPI(StandIn):
    """The API, and what it knows.

    Args:
        token: The one that it accepts.
        environment: What its containers have in theirs besides the API's address and the token.

    Attributes:
        flows: By id; each has the `versions` minted for it, and `content`: what was stored, by
            version.
        dask: Its Dask clusters, if it has any.
    """

    def __init__(self, token: str, environment: Mapping[str, str]) -> None:
        self.token = token
        self.environment = environment
        self.flows: dict[str, dict[str, Any]] = {}
        self.dask: DaskAPI | None = None
        super().__init__()

    def respond(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, str]:
        if headers.get("Authorization") != f"token {self.token}":
            return as_json(401, {"message": "Unauthorized"})
        if (method, path) == ("GET", "/api/info/servers"):
            return as_json(200, {"sizes": SIZES})
        if (method, path) == ("PUT", "/api/prefect_cloud/flows"):
            return self._put(body)
        if self.dask and path.startswith("/api/dask_clusters"):
            return as_json(*self.dask.respond(method, path, body))
        return self._respond_of_flow(method, path, headers, body)

    def _respond_of_flow(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, str]:
        match = re.fullmatch(
            r"/api/prefect_cloud/flows/([^/]+)/(?:run_job_spec|([^/]+)/content)", path
        )
        flow = self.flows.get(match[1]) if match else None
        if not match or flow is None:
            return as_json(404, {"message": "Not Found"})
        version = match[2]
        if version is None:
            return (
                as_json(200, self._job(flow))
                if method == "GET"
                else as_json(405, {"message": "Method Not Allowed"})
            )
        if version not in flow["versions"]:
            return as_json(404, {"message": "Not Found"})
        if method == "POST":
            if headers.get("Content-Type") != "application/octet-stream" or not body:
                return as_json(400, {"message": "Expected the flow as application/octet-stream"})
            flow["content"][version] = body
            return as_json(200, {})
        if method == "GET" and version in flow["content"]:
            return 200, flow["content"][version], "application/octet-stream"
        return as_json(404, {"message": "Not Found"})

    def _put(self, body: bytes) -> tuple[int, bytes, str]:
        try:
            given = json.loads(body)
        except ValueError:
            return as_json(400, {"message": "Expected JSON"})
        known = FIELDS <= given.keys() <= FIELDS | {"instance_size"}
        if not known or not all(isinstance(value, str) for value in given.values()):
            return as_json(400, {"message": f"Expected {sorted(FIELDS)} as text"})
        if (
            not re.fullmatch("[0-9a-f]{64}", given["flow_hash"])
            or given.get("instance_size", "medium") not in SIZES
        ):
            return as_json(400, {"message": "Invalid flow_hash or instance_size"})
        for flow in self.flows.values():
            if flow["flow_hash"] == given["flow_hash"]:
                break
        else:
            flow = {"id": str(len(self.flows) + 1), "versions": [], "content": {}}
            self.flows[flow["id"]] = flow
        flow.update(given)
        flow["versions"].append(uuid.uuid4().hex)
        answer = {
            "id": flow["id"],
            "flow_version_id": flow["versions"][-1],
            "image": IMAGE,
            "labels": LABELS,
        }
        return as_json(200, answer)

    def _job(self, flow: dict[str, Any]) -> dict[str, Any]:
        environment = {**self.environment, "SATURN_TOKEN": self.token, "BASE_URL": self.url}
        environment |= {"SATURN_IS_INTERNAL": "true", "SATURN_RESOURCE_TYPE": "PrefectCloudFlow"}
        container = {
            "name": "main",
            "image": IMAGE,
            "env": [{"name": name, "value": value} for name, value in environment.items()],
        }
        pod = {"containers": [container], "restartPolicy": "Never"}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"flow-{flow['id']}",
                "labels": {"saturncloud.io/flow": flow["id"]},
            },
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        }
