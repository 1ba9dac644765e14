"""A stand-in for Saturn Cloud's API of today, which starts a deployment from its recipe alone.

It refuses what Saturn refuses: a wrong token (401), a recipe that saturn-api's models do not take
or that has fields they do not know (400), an image, an instance type or a secret that the account
does not have (400), an unknown resource (404). A deployment that is started runs in an empty
folder, in a machine's own environment: it sees nothing of this project's checkout.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from servers.loopback import LoopbackServer, QuietHandler

HOME = "/home/jovyan/workspace"
SIZES = {"medium": {"cores": 2}, "large": {"cores": 4}}
IMAGES = {"saturncloud/saturn-python:2024.08.01"}


class SaturnCloud(LoopbackServer):
    """An account of Saturn Cloud.

    Args:
        token: The one token that it takes.
        secrets: The account's secrets, by name.
        machine: A folder for deployments to run in, one folder each.
        environment: What a machine of Saturn's has in its environment, with `python` and `pip` on
            PATH.
    """

    def __init__(
        self, token: str, secrets: dict[str, str], machine: Path, environment: dict[str, str]
    ) -> None:
        saturn = self
        self.token = token
        self.secrets = secrets
        self.machine = machine
        self.environment = environment
        self.deployments: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()

        class Handler(QuietHandler):
            def handle_any(self) -> None:
                body = self.body()
                saturn.requests.append(f"{self.command} {self.path}")
                if self.headers.get("Authorization") != f"token {saturn.token}":
                    return self.answer(401, b'{"message": "invalid token"}')
                with saturn.lock:
                    status, content = saturn.respond(self.command, urlsplit(self.path).path, body)
                return self.answer(status, json.dumps(content).encode())

            do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815  names of http.server

        super().__init__(Handler)

    def __exit__(self, *error: object) -> None:
        for name in list(self.processes):
            self.stop(name)
        super().__exit__(*error)

    def respond(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if (method, path) == ("GET", "/api/status"):
            return 200, {"status": "ok", "version": "2026.02.01"}
        if (method, path) == ("GET", "/api/info/servers"):
            sizes = {name: {"name": name, "gpu": 0, **size} for name, size in SIZES.items()}
            return 200, {"sizes": sizes, "disk_space": ["10Gi"], "auto_shutoff": ["1 hour"]}
        if (method, path) == ("PUT", "/api/recipes"):
            return self.apply(json.loads(body))
        found = re.fullmatch(r"/api/recipes/deployment/([^/]+)", path)
        if method == "GET" and found:
            recipe = self.deployments.get(found[1])
            return (200, recipe) if recipe else (404, {"message": "resource not found"})
        found = re.fullmatch(r"/api/deployments/([^/]+)(?:/(start|stop|restart))?", path)
        recipe = found and next(
            (r for r in self.deployments.values() if r["state"]["id"] == found[1]), None
        )
        if not recipe:
            return 404, {"message": "not found"}
        name = recipe["spec"]["name"]
        if method == "DELETE" and not found[2]:
            self.stop(name)
            return 200, self.deployments.pop(name)["state"]
        if method != "POST" or not found[2]:
            return 405, {"message": "method not allowed"}
        if found[2] in ("stop", "restart"):
            self.stop(name)
        if found[2] in ("start", "restart"):
            self.start(name)
        return 200, recipe["state"]

    def apply(self, recipe: dict[str, Any]) -> tuple[int, Any]:
        try:
            # Here, as it takes seconds to import, and each process of the tests would do it.
            from saturn_api.models.deployment_recipe import DeploymentRecipe

            model = DeploymentRecipe.from_dict(recipe)
        except (ValidationError, TypeError, KeyError) as error:
            return 400, {"message": f"invalid recipe: {error}"}
        problem = self.problem(recipe, model.to_dict())
        if problem:
            return 400, {"message": problem}
        name = recipe["spec"]["name"]
        known = self.deployments.get(name)
        state = known["state"] if known else {"id": uuid.uuid4().hex, "status": "stopped"}
        state["url"] = f"{self.url}/dash/resource/deployment/{state['id']}"
        self.deployments[name] = {**recipe, "state": state}
        return 200, self.deployments[name]

    def problem(self, recipe: dict[str, Any], understood: dict[str, Any]) -> str | None:
        spec = recipe["spec"]
        unknown = (spec.keys() - understood["spec"].keys()) | (recipe.keys() - understood.keys())
        if unknown:
            return f"unknown fields: {', '.join(sorted(unknown))}"
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", spec["name"]):
            return f"invalid name: {spec['name']}"
        dask = spec.get("dask_cluster") or {}
        for machine in (spec, *(dask[part] for part in ("scheduler", "worker") if dask)):
            if machine["instance_type"] not in SIZES:
                return f"unknown instance type: {machine['instance_type']}"
        if spec["image"] not in IMAGES:
            return f"unknown image: {spec['image']}"
        for secret in spec.get("secrets") or []:
            if secret["name"] not in self.secrets:
                return f"secret not found: {secret['name']}"
        return None

    def start(self, name: str) -> None:
        """Clone, install and run, as the recipe says and with nothing else."""
        recipe = self.deployments[name]
        spec = recipe["spec"]
        folder = self.machine / f"{name}-{uuid.uuid4().hex[:6]}"
        workspace = folder / "workspace"
        workspace.mkdir(parents=True)

        def on_machine(text: str) -> str:  # there is no container here: its home is a folder
            return text.replace(HOME, str(workspace))

        environment = {
            **self.environment,
            "HOME": str(folder),
            **(spec.get("environment_variables") or {}),
        }
        for secret in spec.get("secrets") or []:
            assert secret["attachment_type"] == "environment_variable"
            environment[secret["location"]] = self.secrets[secret["name"]]
        script = ["set -e"]
        for repository in spec.get("git_repositories") or []:
            assert repository["reference_type"] == "branch"
            branch, url = repository["reference"], repository["url"]
            script.append(
                f"git clone -q --branch '{branch}' '{url}' '{on_machine(repository['path'])}'"
            )
        script.append(on_machine(spec.get("start_script") or ""))
        script.append(f"cd '{on_machine(spec['working_directory'])}'")
        script.append(f"exec {on_machine(spec['command'])}")
        with (folder / "log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                ["bash", "-c", "\n".join(script)],
                cwd=workspace,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        recipe["state"]["status"] = "running"

    def stop(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if name in self.deployments:
            self.deployments[name]["state"]["status"] = "stopped"
        if process and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def log(self, name: str) -> str:
        return "\n".join(path.read_text() for path in self.machine.glob(f"{name}-*/log"))
