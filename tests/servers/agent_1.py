"""Prefect 1's own Kubernetes agent, with a cluster that prints each job as a line of JSON.

A program for an environment that has Prefect 1; its arguments are the agent's labels. It polls once
for each line on stdin, and prints an empty line after the jobs.
"""

import json
import sys
from threading import Lock
from types import SimpleNamespace

LOCK = Lock()


class Cluster:
    """What the agent asks of Kubernetes."""

    def list_namespaced_job(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(items=[], metadata=SimpleNamespace(_continue=""))

    def create_namespaced_job(self, namespace: str, body: dict) -> None:
        assert namespace == "default"
        with LOCK:  # the agent submits several jobs at once
            print(json.dumps(body), file=sys.__stdout__, flush=True)


client = SimpleNamespace(get_kubernetes_client=lambda *_, **__: Cluster())
sys.modules["prefect.utilities.kubernetes"] = client  # type: ignore[assignment]
sys.stdout = sys.stderr

from prefect.agent.kubernetes import KubernetesAgent  # noqa: E402

for _ in sys.stdin:
    KubernetesAgent(labels=sys.argv[1:], max_polls=1).start()
    print(file=sys.__stdout__, flush=True)
