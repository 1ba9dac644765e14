"""A stand-in for Prefect 1's API: Cloud's, with keys and tenants, or a self-hosted server's.

What it accepts and how it behaves follows the public server: documents are parsed and validated
against a schema, tables are queried as Hasura lets one query them, and states change by the
server's rules.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import operator
import threading
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from graphql import GraphQLError, graphql_sync, parse, validate

from servers.loopback import StandIn, as_json
from servers.prefect_1_schema import TABLES, make_schema, parse_time

VERSION = "1.4.1"
Row = dict[str, Any]

FINISHED = set(
    "Success Failed Cancelled Skipped Mapped Cached TriggerFailed TimedOut Finished".split()
)
SCHEDULED = {"Scheduled", "Retrying", "Queued", "Resume", "Paused"}
STATES = (
    FINISHED | SCHEDULED | set("Pending Submitted Running Cancelling Looped ClientFailed".split())
)
FLOW_KEYS = {"name", "parameters", "schedule", "storage", "run_config", "__version__"}


def now() -> datetime:
    return datetime.now(UTC)


class PrefectAPI(StandIn):
    """The API, and what it knows.

    Args:
        keys: API keys, each with the slugs of the tenants that it is for, its own first; without
            any it is an API token. None: a self-hosted server, which asks for no key.

    Attributes:
        tables: The rows by table.
        mutations: The names of the mutations that were asked for, in order.
        failing: The names of those that fail, as with the database away.
        log_delay: Seconds after which every second line of a log can be read; the others at once.
    """

    def __init__(self, keys: Mapping[str, Iterable[str]] | None) -> None:
        self.keys = keys
        self.tables: dict[str, list[Row]] = {name: [] for name in TABLES}
        self.mutations: list[str] = []
        self.failing: set[str] = set()
        self.log_delay = 0.0
        self._lock = threading.RLock()
        self._schema = make_schema()
        slugs = [slug for tenants in (keys or {}).values() for slug in tenants]
        for slug in dict.fromkeys(["default"] if keys is None else slugs):
            self._insert("tenant", name=slug.title(), slug=slug)
        fields = {**self._schema.query_type.fields}
        fields.pop("hello").resolve = lambda *_: "hello"
        fields.pop("auth_info").resolve = lambda _, info: {"tenant_id": info.context["default"]}
        fields.pop("get_task_run_info").resolve = self._task_run_info
        for name, field in fields.items():
            table = name.removesuffix("_by_pk")
            field.resolve = self._by_pk(table) if name.endswith("_by_pk") else self._rows_of(table)
        for table, columns in TABLES.items():
            for column, kind in columns.items():
                if "." in kind:
                    self._schema.type_map[table].fields[column].resolve = self._relation(kind)
        for name, field in self._schema.mutation_type.fields.items():
            field.resolve = self._mutation(name)
        super().__init__()

    # ---- what arrives

    def respond(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, str]:
        if method != "POST" or path not in ("/", "/graphql"):
            return as_json(404, {"message": "Not Found"})
        try:
            request = json.loads(body)
            variables = request.get("variables")
            variables = json.loads(variables) if isinstance(variables, str) else variables
            document = parse(request["query"])
        except (ValueError, KeyError, TypeError, GraphQLError) as error:
            return as_json(400, {"errors": [{"message": f"Syntax Error: {error}"}]})
        tenant, default = self._authorize(headers)
        if tenant is None and self.keys is not None and default != "token":
            error = {"message": "Unauthenticated", "extensions": {"code": "UNAUTHENTICATED"}}
            return as_json(200, {"errors": [error]})
        problems = validate(self._schema, document)
        if problems:
            code = {"code": "GRAPHQL_VALIDATION_FAILED"}
            return as_json(
                400,
                {
                    "errors": [
                        {"message": problem.message, "extensions": code} for problem in problems
                    ]
                },
            )
        context = {
            "tenant": tenant,
            "default": None if default == "token" else default,
            "headers": headers,
        }
        with self._lock:
            result = graphql_sync(
                self._schema, request["query"], variable_values=variables, context_value=context
            )
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [
                {
                    "message": error.message,
                    "path": error.path,
                    "extensions": {
                        "code": getattr(error.original_error, "code", "INTERNAL_SERVER_ERROR")
                    },
                }
                for error in result.errors
            ]
        # A document whose variables do not fit is never begun: those have no path.
        return as_json(
            400 if result.errors and result.data is None and not result.errors[0].path else 200,
            answer,
        )

    def _authorize(self, headers: Mapping[str, str]) -> tuple[str | None, str | None]:
        """The tenant that is asked about, and the key's own."""
        tenants = {row["slug"]: row["id"] for row in self.tables["tenant"]}
        if self.keys is None:
            return next(iter(tenants.values())), None
        scheme, _, key = (headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or key not in self.keys or not headers.get("X-PREFECT-CORE-VERSION"):
            return None, None
        allowed = [tenants[slug] for slug in self.keys[key]]
        if not allowed:
            return None, "token"
        wanted = headers.get("X-PREFECT-TENANT-ID") or allowed[0]
        return (wanted, wanted) if wanted in allowed else (None, None)

    # ---- reading

    def _by_pk(self, table: str) -> Any:
        def resolve(_: Any, info: Any, id: str) -> Row | None:  # noqa: A002  Hasura's name
            return next(
                (row for row in self._visible(table, info.context) if row["id"] == id), None
            )

        return resolve

    def _rows_of(self, table: str) -> Any:
        def resolve(_: Any, info: Any, **arguments: Any) -> list[Row]:
            return self._select(table, self._visible(table, info.context), **arguments)

        return resolve

    def _relation(self, kind: str) -> Any:
        other, _, key = kind.strip("[]").partition(".")
        if kind.startswith("["):
            return lambda row, _, **arguments: self._select(
                other, self._related(row, kind), **arguments
            )
        return lambda row, _: next(
            (found for found in self.tables[other] if found["id"] == row[key]), None
        )

    def _related(self, row: Row, kind: str) -> list[Row]:
        other, _, key = kind.strip("[]").partition(".")
        if kind.startswith("["):
            return [found for found in self.tables[other] if found[key] == row["id"]]
        return [found for found in self.tables[other] if found["id"] == row[key]]

    def _visible(self, table: str, context: Mapping[str, Any]) -> list[Row]:
        """The tenant's rows; all tenants of a key, as one asks for them before one has one."""
        if table == "tenant":
            mine = self._my_tenants(context)
            return [row for row in self.tables["tenant"] if row["id"] in mine]
        rows = [row for row in self.tables[table] if not row.get("deleted")]
        if "tenant_id" not in TABLES[table]:
            return rows
        return [row for row in rows if row["tenant_id"] == context["tenant"]]

    def _my_tenants(self, context: Mapping[str, Any]) -> set[str]:
        if self.keys is None:
            return {row["id"] for row in self.tables["tenant"]}
        key = context["headers"]["Authorization"].partition(" ")[2]
        return {row["id"] for row in self.tables["tenant"] if row["slug"] in self.keys[key]}

    def _select(
        self,
        table: str,
        rows: list[Row],
        where: Row | None = None,
        order_by: Any = (),
        limit: int | None = None,
    ) -> list[Row]:
        if table == "log":
            rows = [row for row in rows if row["readable"] <= now()]
        found = [row for row in rows if self._matches(table, row, where or {})]
        for column, direction in [
            pair for order in reversed(order_by or []) for pair in order.items()
        ]:
            found.sort(key=lambda row, column=column: row[column], reverse=direction == "desc")  # type: ignore[misc]
        return found[:limit]

    def _matches(self, table: str, row: Row, where: Row) -> bool:
        for name, wanted in where.items():
            if name == "_and":
                fits = all(self._matches(table, row, part) for part in wanted)
            elif name == "_or":
                fits = any(self._matches(table, row, part) for part in wanted)
            elif name == "_not":
                fits = not self._matches(table, row, wanted)
            elif "." in TABLES[table][name]:
                kind = TABLES[table][name]
                other = kind.strip("[]").partition(".")[0]
                fits = any(
                    self._matches(other, found, wanted) for found in self._related(row, kind)
                )
            else:
                fits = all(_compare(row.get(name), how, value) for how, value in wanted.items())
            if not fits:
                return False
        return True

    def _task_run_info(self, _: Any, info: Any, task_run_id: str) -> Row:
        return self._get("task_run", task_run_id, info.context)

    # ---- writing

    def _mutation(self, name: str) -> Any:
        def resolve(_: Any, info: Any, input: Row) -> Any:  # noqa: A002  the API's name
            self.mutations.append(name)
            if name in self.failing:
                raise Refused("Operation failed", "INTERNAL_SERVER_ERROR")
            return getattr(self, f"do_{name}")(input, info.context)

        return resolve

    def _insert(self, table: str, **values: Any) -> Row:
        row = {**dict.fromkeys(TABLES[table]), "id": str(uuid.uuid4()), **values}
        self.tables[table].append(row)
        return row

    def _get(self, table: str, id_: str | None, context: Mapping[str, Any]) -> Row:
        for row in self._visible(table, context):
            if row["id"] == id_:
                return row
        raise ValueError(f"Invalid {table.replace('_', ' ')} ID: {id_}")

    def do_create_project(self, given: Row, context: Row) -> Row:
        if given["tenant_id"] != context["tenant"]:
            raise Refused("Unauthorized tenant", "FORBIDDEN")
        for row in self.tables["project"]:  # deleted ones, too: those are only hidden
            if (row["tenant_id"], row["name"]) == (given["tenant_id"], given["name"]):
                raise Refused("Uniqueness violation.")
        return self._insert("project", **given)

    def do_delete_project(self, given: Row, context: Row) -> Row:
        self._get("project", given["project_id"], context)["deleted"] = True
        return {"success": True}

    def do_create_flow_from_compressed_string(self, given: Row, context: Row) -> Row:
        try:
            flow = json.loads(gzip.decompress(base64.b64decode(given["serialized_flow"])))
        except (OSError, ValueError) as error:
            raise Refused("Unable to decompress serialized flow") from error
        if not flow.keys() >= FLOW_KEYS:
            raise Refused("Invalid flow")
        project = self._get("project", given["project_id"], context)
        key = given.get("idempotency_key")
        wanted = {"version_group_id": given.get("version_group_id")}
        if not given.get("version_group_id"):
            wanted = {"project_id": project["id"], "name": flow["name"]}
        visible = self._visible("flow", context)
        versions = [row for row in visible if wanted.items() <= row.items()]
        if versions:
            group = self._get("flow_group", versions[-1]["flow_group_id"], context)
            current = [row for row in versions if not row["archived"]]
            if key and group["settings"]["idempotency_key"] == key and current:
                return current[-1]
            group["settings"]["idempotency_key"] = key
        else:
            name = given.get("version_group_id") or str(uuid.uuid4())
            enabled = ("heartbeat_enabled", "lazarus_enabled", "version_locking_enabled")
            settings = {**dict.fromkeys(enabled, True), "idempotency_key": key}
            row = {"tenant_id": context["tenant"], "name": name, "settings": settings}
            group = self._insert("flow_group", **row)
        for row in versions:
            if not row["archived"]:
                self.do_archive_flow({"flow_id": row["id"]}, context)
        names = ("name", "parameters", "schedule", "storage", "run_config", "environment")
        return self._insert(
            "flow",
            **{name: flow.get(name) for name in names},
            tenant_id=context["tenant"],
            project_id=project["id"],
            flow_group_id=group["id"],
            created=now(),
            version=len(versions) + 1,
            version_group_id=group["name"],
            archived=False,
            core_version=flow["__version__"],
            is_schedule_active=False,
            settings={},
            serialized_flow=flow,
        )

    def do_register_tasks(self, given: Row, context: Row) -> Row:
        flow = self._get("flow", given["flow_id"], context)
        known = {row["slug"] for row in self._related(flow, "[task.flow_id]")}
        for task in given["serialized_tasks"]:
            if task["slug"] not in known:
                wanted = {name: task.get(name) for name in ("name", "slug", "type", "max_retries")}
                self._insert("task", flow_id=flow["id"], **wanted)
        return {"success": True}

    def do_register_edges(self, given: Row, context: Row) -> Row:
        flow = self._get("flow", given["flow_id"], context)
        ids = {row["slug"]: row["id"] for row in self._related(flow, "[task.flow_id]")}
        known = self._related(flow, "[edge.flow_id]")
        for edge in given["serialized_edges"]:
            ends = [edge[end]["slug"] for end in ("upstream_task", "downstream_task")]
            if not ids.keys() >= set(ends):
                raise Refused(f"Edges refer to tasks that are not registered: {ends}")
            row = {
                "upstream_task_id": ids[ends[0]],
                "downstream_task_id": ids[ends[1]],
                "key": edge["key"],
            }
            if not any(row.items() <= other.items() for other in known):
                self._insert("edge", flow_id=flow["id"], mapped=edge["mapped"], **row)
        return {"success": True}

    def do_set_schedule_active(self, given: Row, context: Row) -> Row:
        flow = self._get("flow", given["flow_id"], context)
        if any(parameter["required"] for parameter in flow["parameters"]):
            raise Refused("Can not schedule a flow that has required parameters.")
        flow["is_schedule_active"] = True
        for clock in (flow["schedule"] or {"clocks": []})["clocks"]:
            every = timedelta(microseconds=clock["interval"])
            first = datetime(2019, 1, 1, tzinfo=UTC)
            if clock["start_date"]:
                first = parse_time(clock["start_date"]["dt"])
            passed = math.floor((now() - first) / every)
            for number in range(1, 4):
                start = first + (passed + number) * every
                key = f"auto-scheduled:{start.isoformat()}"
                run = {"flow_id": flow["id"], "scheduled_start_time": start, "idempotency_key": key}
                self._create_flow_run(run, flow, auto_scheduled=True)
        return {"success": True}

    def do_set_schedule_inactive(self, given: Row, context: Row) -> Row:
        flow = self._get("flow", given["flow_id"], context)
        flow["is_schedule_active"] = False
        self._delete_scheduled(flow)
        return {"success": True}

    def do_archive_flow(self, given: Row, context: Row) -> Row:
        flow = self._get("flow", given["flow_id"], context)
        flow["archived"] = True
        self._delete_scheduled(flow)
        for run in self._related(flow, "[flow_run.flow_id]"):
            if run["state"] == "Scheduled":
                self.do_cancel_flow_run({"flow_run_id": run["id"]}, context)
        return {"success": True}

    def _delete_scheduled(self, flow: Row) -> None:
        for run in self._related(flow, "[flow_run.flow_id]"):
            if run["auto_scheduled"] and run["state"] == "Scheduled":
                self.tables["flow_run"].remove(run)
                for table in ("task_run", "flow_run_state"):
                    self.tables[table] = [
                        row for row in self.tables[table] if row["flow_run_id"] != run["id"]
                    ]

    def do_create_flow_run(self, given: Row, context: Row) -> Row:
        if given.get("flow_id"):
            flow = self._get("flow", given["flow_id"], context)
        else:
            group = given.get("version_group_id")
            wanted = {"version_group_id": group, "archived": False}
            visible = self._visible("flow", context)
            flows = [flow for flow in visible if wanted.items() <= flow.items()]
            if not flows:
                raise Refused(f"Version group {group} has no unarchived flows.")
            flow = flows[-1]
        if flow["archived"]:
            raise Refused(f"Flow {flow['id']} is archived.")
        return self._create_flow_run(given, flow, auto_scheduled=False)

    def _create_flow_run(self, given: Row, flow: Row, auto_scheduled: bool) -> Row:
        key = given.get("idempotency_key")
        for run in self._related(flow, "[flow_run.flow_id]"):
            if key and run["idempotency_key"] == key:
                return run
        parameters = given.get("parameters") or {}
        required = {each["name"] for each in flow["parameters"] if each["required"]}
        if missing := required - parameters.keys():
            raise Refused(f"Required parameters were not supplied: {missing}")
        run_config = given.get("run_config") or flow["run_config"]
        labels = given.get("labels")
        start = given.get("scheduled_start_time") or now()
        run = self._insert(
            "flow_run",
            tenant_id=flow["tenant_id"],
            flow_id=flow["id"],
            parameters=parameters,
            run_config=run_config,
            name=given.get("flow_run_name") or f"run-{uuid.uuid4().hex[:6]}",
            context=given.get("context") or {},
            labels=sorted((run_config["labels"] or []) if labels is None else labels),
            version=0,
            scheduled_start_time=start,
            auto_scheduled=auto_scheduled,
            idempotency_key=key,
        )
        pending = {"type": "Pending", "message": "Flow run created", "__version__": VERSION}
        self._set_flow_run_state(run, pending)
        scheduled = {"type": "Scheduled", "message": "Flow run scheduled.", "__version__": VERSION}
        self._set_flow_run_state(run, {**scheduled, "start_time": start.isoformat()})
        for task in self._related(flow, "[task.flow_id]"):
            self._task_run(run, task, -1)
        return run

    def _task_run(self, run: Row, task: Row, map_index: int) -> Row:
        pending = {"type": "Pending", "message": "Task run created", "__version__": VERSION}
        return self._insert(
            "task_run",
            tenant_id=run["tenant_id"],
            flow_run_id=run["id"],
            task_id=task["id"],
            map_index=map_index,
            version=0,
            state="Pending",
            serialized_state=pending,
        )

    def do_cancel_flow_run(self, given: Row, context: Row) -> Row:
        run = self._get("flow_run", given["flow_run_id"], context)
        if run["state"] not in FINISHED:
            kind, message = (
                ("Cancelling", "cancelling")
                if run["state"] == "Running"
                else ("Cancelled", "cancelled")
            )
            state = {"type": kind, "message": f"Flow run is {message}", "__version__": VERSION}
            self._set_flow_run_state(run, state)
        return run

    def do_get_or_create_task_run_info(self, given: Row, context: Row) -> Row:
        run = self._get("flow_run", given["flow_run_id"], context)
        index = given.get("map_index", -1)
        for found in self._related(run, "[task_run.flow_run_id]"):
            if (found["task_id"], found["map_index"]) == (given["task_id"], index):
                return found
        flow = self._get("flow", run["flow_id"], context)
        tasks = [
            task for task in self._related(flow, "[task.flow_id]") if task["id"] == given["task_id"]
        ]
        if not tasks:
            raise Refused("Invalid task ID")
        return self._task_run(run, tasks[0], index)

    def do_update_flow_run_heartbeat(self, given: Row, context: Row) -> Row:
        if context["headers"].get("X-PREFECT-HEARTBEAT-ID") != given["flow_run_id"]:
            raise Refused("The heartbeat's header is of another run")
        self._get("flow_run", given["flow_run_id"], context)["heartbeat"] = now()
        return {"success": True}

    def do_set_flow_run_states(self, given: Row, context: Row) -> Row:
        results = []
        for item in given["states"]:
            run = self._get("flow_run", item["flow_run_id"], context)
            _check_version(run, item)
            self._set_flow_run_state(run, item["state"])
            if run["state"] == "Submitted":
                run["agent_id"] = context["headers"].get("X-PREFECT-AGENT-ID")
            results.append({"id": run["id"], "status": "SUCCESS"})
        return {"states": results}

    def do_set_task_run_states(self, given: Row, context: Row) -> Row:
        results = []
        for item in given["states"]:
            task_run = self._get("task_run", item["task_run_id"], context)
            _check_version(task_run, item)
            run = self._get("flow_run", task_run["flow_run_id"], context)
            if item["state"].get("type") == "Running" and run["state"] != "Running":
                failed = f"State update failed for task run ID {task_run['id']}"
                raise Refused(f"{failed}: the flow run is not running.")
            self._set_task_run_state(task_run, item["state"])
            results.append({"id": task_run["id"], "status": "SUCCESS"})
        return {"states": results}

    def _set_flow_run_state(self, run: Row, state: Row) -> None:
        _set_state(run, state)
        row = {name: run[name] for name in ("version", "state", "serialized_state")}
        row |= {"flow_run_id": run["id"], "message": run["state_message"]}
        self._insert("flow_run_state", timestamp=now(), **row)
        run["updated"] = now()
        if run["state"] == "Cancelled":
            for task_run in self._related(run, "[task_run.flow_run_id]"):
                if task_run["state"] not in FINISHED:
                    self._set_task_run_state(task_run, state)

    def _set_task_run_state(self, task_run: Row, state: Row) -> None:
        _set_state(task_run, state)
        row = {name: task_run[name] for name in ("version", "state", "serialized_state")}
        self._insert("task_run_state", task_run_id=task_run["id"], timestamp=now(), **row)

    def do_set_task_run_name(self, given: Row, context: Row) -> Row:
        self._get("task_run", given["task_run_id"], context)["name"] = given["name"]
        return {"success": True}

    def do_write_run_logs(self, given: Row, context: Row) -> Row:
        for entry in given["logs"]:
            self._get("flow_run", entry["flow_run_id"], context)
            if entry.get("task_run_id"):
                self._get("task_run", entry["task_run_id"], context)
            row = self._insert("log", **{"timestamp": now(), "level": "INFO", **entry})
            is_late = len(self.tables["log"]) % 2
            row["readable"] = now() + timedelta(seconds=self.log_delay if is_late else 0.0)
        return {"success": True}

    def do_register_agent(self, given: Row, context: Row) -> Row:
        if given["tenant_id"] != context["tenant"]:
            raise Refused("Unauthorized tenant", "FORBIDDEN")
        names = ("tenant_id", "name", "type", "labels")
        return self._insert("agent", **{name: given.get(name) for name in names})

    def do_get_runs_in_queue(self, given: Row, context: Row) -> Row:
        for agent in self._visible("agent", context):
            if agent["id"] == context["headers"].get("X-PREFECT-AGENT-ID"):
                agent["last_queried"] = now()
        before, labels = given.get("before") or now(), set(given.get("labels") or [])
        found = [
            run["id"]
            for run in self._visible("flow_run", context)
            if run["state"] in SCHEDULED
            and run["state_start_time"] <= before
            and not set(run["labels"]) - labels
            and (run["labels"] or not labels)
        ]
        return {"flow_run_ids": found}


class Refused(Exception):  # noqa: N818  what the service does, not what fails in it
    """What the service refuses, with the code that it gives."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.code = code


def _check_version(row: Row, item: Row) -> None:
    if item.get("version") is not None and item["version"] != row["version"]:
        raise Refused(
            f"Version {item['version']} is not the present one, {row['version']}",
            "VERSION_LOCKING_ERROR",
        )


def _set_state(row: Row, state: Row) -> None:
    kind = state.get("type")
    if kind not in STATES or (kind in ("Scheduled", "Retrying") and not state.get("start_time")):
        raise Refused(f"Invalid state: {state}")
    if len(json.dumps(state)) > 1_000_000:
        raise Refused("State payload is too large.")
    row["state"], row["version"] = kind, (row["version"] or 0) + 1
    row["state_message"] = state.get("message")
    row["state_start_time"] = parse_time(state["start_time"]) if state.get("start_time") else None
    # A client cannot read back a result that is null.
    row["serialized_state"] = {
        name: value for name, value in state.items() if name != "_result" or value is not None
    }


COMPARISONS = {
    "_eq": operator.eq,
    "_neq": operator.ne,
    "_in": lambda value, wanted: value in wanted,
    "_nin": lambda value, wanted: value not in wanted,
    "_gt": operator.gt,
    "_gte": operator.ge,
    "_lt": operator.lt,
    "_lte": operator.le,
}


def _compare(value: Any, how: str, wanted: Any) -> bool:
    if how == "_is_null":
        return (value is None) == wanted
    return value is not None and bool(COMPARISONS[how](value, wanted))  # None: as in SQL
