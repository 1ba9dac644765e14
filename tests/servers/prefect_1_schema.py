"""The GraphQL schema of Prefect 1's API: the tables as Hasura lets one query them, the mutations.

It follows the public server: the tables' columns and relations, and the mutations' inputs.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from graphql import GraphQLSchema, build_schema

# Columns by table, of String unless a kind is given. A relation names the other table and the
# column that refers to it, or, in brackets, by which the other table's rows refer to this one's.
TABLES_TEXT = """
tenant | id:UUID name slug
project | id:UUID tenant_id:UUID name description flows:[flow.project_id]
flow_group | id:UUID tenant_id:UUID name labels:JSON settings:JSON
flow | id:UUID tenant_id:UUID project_id:UUID flow_group_id:UUID created:DateTime name version:Int
    version_group_id archived:Boolean core_version is_schedule_active:Boolean description
    settings:JSON run_config:JSON storage:JSON environment:JSON serialized_flow:JSON
    parameters:JSON schedule:JSON project:project.project_id flow_group:flow_group.flow_group_id
    tasks:[task.flow_id] edges:[edge.flow_id] flow_runs:[flow_run.flow_id]
task | id:UUID flow_id:UUID name slug type max_retries:Int
edge | id:UUID flow_id:UUID upstream_task_id:UUID downstream_task_id:UUID key mapped:Boolean
flow_run | id:UUID tenant_id:UUID flow_id:UUID name version:Int state state_message
    serialized_state:JSON parameters:JSON context:JSON labels:JSON run_config:JSON
    state_start_time:DateTime scheduled_start_time:DateTime updated:DateTime heartbeat:DateTime
    auto_scheduled:Boolean idempotency_key agent_id:UUID flow:flow.flow_id
    task_runs:[task_run.flow_run_id] states:[flow_run_state.flow_run_id] logs:[log.flow_run_id]
flow_run_state | id:UUID flow_run_id:UUID version:Int state message serialized_state:JSON
    timestamp:DateTime
task_run | id:UUID tenant_id:UUID flow_run_id:UUID task_id:UUID map_index:Int name version:Int
    state state_message serialized_state:JSON state_start_time:DateTime cache_key
    task:task.task_id flow_run:flow_run.flow_run_id
task_run_state | id:UUID task_run_id:UUID version:Int state message serialized_state:JSON
    timestamp:DateTime
log | id:UUID flow_run_id:UUID task_run_id:UUID timestamp:DateTime name level:log_level message
agent | id:UUID tenant_id:UUID name type labels:JSON last_queried:DateTime
"""
# Inputs and results of the mutations, in the order: name, input, result.
MUTATIONS = """
create_project | tenant_id: String! name: String! description: String | id: UUID
delete_project | project_id: UUID! | success: Boolean
create_flow_from_compressed_string
    | serialized_flow: String! project_id: UUID! version_group_id: String
    set_schedule_active: Boolean description: String idempotency_key: String | id: UUID
register_tasks | flow_id: UUID! serialized_tasks: JSON! | success: Boolean
register_edges | flow_id: UUID! serialized_edges: JSON! | success: Boolean
set_schedule_active | flow_id: UUID! | success: Boolean
set_schedule_inactive | flow_id: UUID! | success: Boolean
archive_flow | flow_id: UUID! | success: Boolean
create_flow_run | flow_id: UUID version_group_id: String parameters: JSON context: JSON
    labels: [String!] run_config: JSON scheduled_start_time: DateTime idempotency_key: String
    flow_run_name: String | id: UUID
cancel_flow_run | flow_run_id: UUID! | state: String
get_or_create_task_run_info | flow_run_id: UUID! task_id: UUID! map_index: Int
    | id: UUID version: Int state: String serialized_state: JSON
update_flow_run_heartbeat | flow_run_id: UUID! | success: Boolean
set_flow_run_states | states: [set_flow_run_state_input!]! | states: [set_state_payload!]
set_task_run_states | states: [set_task_run_state_input!]! | states: [set_state_payload!]
set_task_run_name | task_run_id: UUID! name: String! | success: Boolean
write_run_logs | logs: [write_run_log_input!]! | success: Boolean
register_agent | tenant_id: UUID! type: String! name: String labels: [String!]
    agent_config_id: UUID | id: UUID
get_runs_in_queue | tenant_id: UUID! before: DateTime labels: [String!] | flow_run_ids: [String!]
"""
REST_OF_SCHEMA = """
scalar JSON
scalar UUID
scalar DateTime
enum log_level { DEBUG INFO WARNING ERROR CRITICAL }
enum order_by { asc desc }
type auth_info { tenant_id: UUID }
type set_state_payload { id: UUID status: String message: String }
input set_flow_run_state_input { flow_run_id: UUID! version: Int state: JSON! }
input set_task_run_state_input { task_run_id: UUID! version: Int state: JSON!
  flow_run_version: Int }
input write_run_log_input { flow_run_id: UUID! task_run_id: UUID timestamp: DateTime
  message: String name: String level: log_level info: JSON }
"""
SCALARS = ("UUID", "String", "Int", "Boolean", "DateTime", "JSON", "log_level")
COMPARISON = """input {kind}_comparison_exp {{ _eq: {kind} _neq: {kind} _gt: {kind} _gte: {kind}
  _lt: {kind} _lte: {kind} _in: [{kind}!] _nin: [{kind}!] _is_null: Boolean }}"""


def parts_of(text: str) -> list[list[str]]:
    """The parts of each entry; a line that is indented goes on with the one before."""
    entries = text.replace("\n ", " ").strip().splitlines()
    return [[part.strip() for part in entry.split("|")] for entry in entries]


TABLES: dict[str, dict[str, str]] = {
    table: {
        column: kind or "String"
        for column, _, kind in (each.partition(":") for each in columns.split())
    }
    for table, columns in parts_of(TABLES_TEXT)
}


def make_schema() -> GraphQLSchema:
    parts, queries, mutations = [REST_OF_SCHEMA], ["hello: String", "auth_info: auth_info"], []
    parts += [COMPARISON.format(kind=kind) for kind in SCALARS]
    for table, columns in TABLES.items():
        fields, conditions, orders = [], [], []
        for column, kind in columns.items():
            other = kind.strip("[]").partition(".")[0]
            condition = f"{other}_bool_exp" if "." in kind else f"{kind}_comparison_exp"
            conditions.append(f"{column}: {condition}")
            if kind.startswith("["):
                fields.append(f"{column}{_arguments(other)}: [{other}!]!")
            else:
                fields.append(f"{column}: {other}")
                orders += [] if "." in kind else [f"{column}: order_by"]
        own = f"{table}_bool_exp"
        parts += [
            f"type {table} {{ {' '.join(fields)} }}",
            f"input {own} {{ _and: [{own}!] _or: [{own}!] _not: {own} {' '.join(conditions)} }}",
            f"input {table}_order_by {{ {' '.join(orders)} }}",
        ]
        queries += [
            f"{table}{_arguments(table)}: [{table}!]!",
            f"{table}_by_pk(id: UUID!): {table}",
        ]
    for name, given, result in parts_of(MUTATIONS):
        parts += [f"input {name}_input {{ {given} }}", f"type {name}_payload {{ {result} }}"]
        mutations.append(f"{name}(input: {name}_input!): {name}_payload")
    queries.append("get_task_run_info(task_run_id: UUID!): get_or_create_task_run_info_payload")
    parts += [f"type Query {{ {' '.join(queries)} }}", f"type Mutation {{ {' '.join(mutations)} }}"]
    schema = build_schema("\n".join(parts))
    schema.type_map["UUID"].coerce_input_value = lambda value: str(uuid.UUID(value))
    schema.type_map["DateTime"].coerce_input_value = parse_time
    schema.type_map["DateTime"].coerce_output_value = lambda value: value.isoformat()
    return schema


def _arguments(table: str) -> str:
    return f"(where: {table}_bool_exp, order_by: [{table}_order_by!], limit: Int)"


def parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
