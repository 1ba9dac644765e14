"""Trials are never lost, half-written or overwritten, and are read back in their order."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest
from commands import Commands, assert_refused, trial_of
from conftest import client_of, existing
from logs import LOG, OTHER_LOG, ROWS, make_csv, make_rows
from projects import bake, lend_environment, uv

TRIAL = {
    "id": "one",
    "data": {"num_obs": 1, "metrics": {"MAE": 1.0, "R2": None}, "target": {"mean": 1.0}},
    "created_at": "2026-01-02T03:04:05.000006Z",
    "window": None,
}
# Writes a trial, once its stdin is closed, so that many begin together: place, id, size.
WRITE = """
import dataclasses, json, logging, sys
logging.basicConfig(level=logging.INFO)
from PACKAGE.evaluation.store import write_trial_summary
from PACKAGE.evaluation.trial import Trial
place, name, size = sys.argv[1:]
sys.stdin.read()
trial = Trial.from_json(dict(json.loads(TRIAL), id=name, padding="x" * int(size)))
print(write_trial_summary(trial, place))
""".replace("TRIAL", repr(json.dumps(TRIAL)))
WITHOUT_LINKS = """
import os, pathlib, time
def link(*arguments, **options):
    raise PermissionError(1, "Operation not permitted")
os.link = link
exists = pathlib.Path.exists
def look_slowly(self, **options):  # time for another process to come between looking and writing
    found = exists(self, **options)
    time.sleep(0.02)
    return found
pathlib.Path.exists = look_slowly
"""


def write_at_once(commands, place, trials, before="", **env):
    """Let one process for each (id, size) write its trial, all at the same time."""
    running = [
        commands.python(before + WRITE, str(place), name, str(size), **env) for name, size in trials
    ]
    for process in running:
        process.stdin.close()
        process.stdin = None
    ended = [(*process.communicate(timeout=120), process.returncode) for process in running]
    assert [code for _, _, code in ended] == [0] * len(trials), ended
    return ended


def history(commands, *arguments, env=None):
    result = commands.run("history", "--json", *arguments, env=env)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def keep(commands, **changes):
    trial = {**TRIAL, **changes}
    commands.trials.mkdir(exist_ok=True)
    end = (trial["window"] or {}).get("to") or trial["created_at"]
    digits = "".join(filter(str.isdigit, end)).ljust(20, "0")
    (commands.trials / f"{digits[:8]}T{digits[8:20]}Z-{trial['id']}.json").write_text(
        json.dumps(trial)
    )


# A folder.


@pytest.mark.parametrize("before", ["", WITHOUT_LINKS], ids=["links", "no links"])
def test_twenty_processes_at_once_keep_twenty_trials(commands, before):
    write_at_once(
        commands, commands.trials, [(f"t{number}", number * 1000) for number in range(20)], before
    )
    trials = history(commands, "--last", "100")
    assert {trial["id"]: len(trial["padding"]) for trial in trials} == {
        f"t{n}": n * 1000 for n in range(20)
    }
    assert [name for name in commands.kept() if not name.endswith(".json")] == (
        [".lock"] if before else []
    )


@pytest.mark.parametrize("before", ["", WITHOUT_LINKS], ids=["links", "no links"])
def test_of_twenty_processes_with_one_trial_one_keeps_it(commands, before):
    ended = write_at_once(
        commands, commands.trials, [("same", 100_000 + number) for number in range(20)], before
    )
    (trial,) = history(commands)
    assert trial["id"] == "same"
    assert sum("already exists" in err for _, err, _ in ended) == 19
    assert len({out for out, _, _ in ended}) == 1
    kept = (commands.trials / "20260102T030405000006Z-same.json").read_bytes()
    write_at_once(commands, commands.trials, [("same", 7)], before)
    assert (commands.trials / "20260102T030405000006Z-same.json").read_bytes() == kept


@pytest.mark.parametrize("before", ["", WITHOUT_LINKS], ids=["links", "no links"])
def test_killed_at_any_moment_leaves_whole_trials_only(commands, before):
    many = WRITE.replace(
        "print(write",
        "\nfor n in range(10**6):\n"
        "  trial = dataclasses.replace(trial, id=f'{name}-{n}')\n"
        "  print(write",
    )
    rng = random.Random(0)
    told = set()
    for number in range(12):
        process = commands.python(
            before + many.replace("place))\n", "place), flush=True)\n"),
            str(commands.trials),
            f"k{number}",
            "300000",
        )
        process.stdin.close()
        process.stdin = None
        first = process.stdout.readline()
        time.sleep(rng.random() * 0.05)
        os.kill(process.pid, signal.SIGKILL)
        told |= {first.strip(), *process.communicate(timeout=20)[0].split("\n")[:-1]}
    files = sorted(commands.trials.glob("*.json"))
    assert len(files) >= 12
    assert all(len(json.loads(path.read_bytes())["padding"]) == 300_000 for path in files)
    assert told <= {str(path) for path in files}  # what was said to be kept is kept
    assert len(history(commands, "--last", "100000")) == len(files)
    for part in commands.trials.glob(".*.part"):
        os.utime(part, (0, 0))
    write_at_once(commands, commands.trials, [("after", 1)], before)
    assert not list(commands.trials.glob(".*.part"))


def test_killed_when_half_is_written(commands):
    kill = """
import os
def fsync(handle):
    os.ftruncate(handle, 50)
    os.kill(os.getpid(), 9)
os.fsync = fsync
"""
    assert commands.evaluate("--data", "sample", before=kill).returncode == -signal.SIGKILL
    (part,) = commands.kept()
    assert part.endswith(".part")
    assert (commands.trials / part).stat().st_size == 50
    result = commands.run("history")
    assert (result.returncode, result.stdout) == (0, "")
    trial = trial_of(commands.evaluate("--data", "sample"))
    assert [kept["id"] for kept in history(commands)] == [trial["id"]]


@pytest.mark.parametrize("place", ["/dev/null/trials", "/sys/trials"])
def test_a_folder_that_cannot_be_written(commands, place):
    assert_refused(commands.evaluate("--data", "sample", "--trials", place), "TRIALS_URL", place)


def test_a_full_disk(commands):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))"
    trial_of(commands.evaluate("--data", "sample", "--trials", "none"))  # the log is cached
    result = commands.evaluate("--data", "sample", before=full)
    assert_refused(result, "TRIALS_URL", str(commands.trials), "File too large")
    assert commands.kept() == []


def test_a_file_in_the_folders_place_is_noticed_before_any_work(commands):
    commands.trials.write_text("mine")
    assert_refused(
        commands.evaluate("--data", "/no/such/log.zip"),
        "TRIALS_URL",
        str(commands.trials),
        "is a file",
    )
    ended = commands.python(WRITE, str(commands.trials), "one", "1").communicate("", timeout=60)
    assert "Not a directory" in ended[1]
    assert commands.trials.read_text() == "mine"
    assert_refused(commands.run("history"), "TRIALS_URL", str(commands.trials))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3:/bucket/trials", "two slashes after the colon"),
        ("file://trials", "set the folder alone, or write file:// before its absolute path"),
        ("memory://trials", "is lost when the process ends"),
        ("simplecache::memory://trials", "is lost when the process ends"),
        ("ftp://127.0.0.1:9/trials", "Connection refused"),
        ("zip:///dev/null", "cannot be used"),
        ("reference:///trials", "cannot be used"),
        pytest.param("t" * 300, "File name too long", id="300 characters"),
    ],
)
def test_a_place_that_keeps_nothing_is_refused_before_any_work(commands, place, words):
    for result in (
        commands.evaluate("--data", "/no/such/log.zip", env={"TRIALS_URL": place}),
        commands.evaluate("--data", "/no/such/log.zip", "--trials", place),
    ):
        assert_refused(result, "TRIALS_URL", words)
    assert not any(path.name.endswith(":") for path in commands.project.path.iterdir())


def test_a_blank_place_is_the_default(commands):
    show = "from PACKAGE.settings import load_settings; print(load_settings().trials)"
    out, err = commands.python(show, TRIALS_URL=" ").communicate("", timeout=60)
    assert out == f"{commands.project.path / 'trials'}\n", err


def test_a_named_pipe_in_the_folder_is_no_trial(commands):
    trial = trial_of(commands.evaluate("--data", "sample"))
    os.mkfifo(commands.trials / "20990101T000000000000Z-a.json")
    assert [kept["id"] for kept in history(commands)] == [trial["id"]]


def test_file_urls_are_folders(commands):
    trial = trial_of(commands.evaluate("--data", "sample", "--trials", f"file://{commands.trials}"))
    assert [kept["id"] for kept in history(commands)] == [trial["id"]]


# What a trial is.


def test_a_trial_has_the_originals_shape_and_is_strict_json(commands):
    result = commands.evaluate("--data", "sample", "--batch-size", "1", "--seed", "1")
    trial = trial_of(result)
    assert list(trial)[:2] == ["id", "data"]
    assert list(trial["data"]) == ["num_obs", "metrics", "target"]
    assert list(trial["data"]["metrics"]) == ["MAE", "MedAE", "MSE", "R2"]
    assert list(trial["data"]["target"]) == ["mean", "median", "min", "max"]
    assert trial["data"]["metrics"]["R2"] is None
    (name,) = commands.kept()
    assert json.loads((commands.trials / name).read_text()) == trial
    assert "NaN" not in result.stdout
    created = "".join(filter(str.isdigit, trial["created_at"]))
    assert name == f"{created[:8]}T{created[8:]}Z-{trial['id']}.json"


def test_each_trial_has_an_identity_of_its_own(commands):
    trials = [trial_of(commands.evaluate("--data", "sample", "--seed", "1")) for _ in range(3)]
    assert len({trial["id"] for trial in trials}) == len(commands.kept()) == 3
    assert trials[0]["data"] == trials[1]["data"] == trials[2]["data"]


def test_none_keeps_nothing(commands):
    places = ("none", "NONE", "none ")
    for arguments, env in ((["--trials", "none"], {}), *(([], {"TRIALS_URL": x}) for x in places)):
        result = commands.evaluate("--data", "sample", *arguments, env=env)
        trial_of(result)
        assert "not kept" in result.stderr
    assert commands.kept() == []
    assert not (commands.project.path / "none").exists()
    assert_refused(
        commands.run("history", env={"TRIALS_URL": "none"}),
        "TRIALS_URL",
        "set a folder or a URL",
    )


# Reading them back.


def test_trials_are_ordered_by_the_end_of_their_window_else_by_creation(commands):
    window = {"from": "2016-01-01T00:00:00Z"}
    keep(commands, id="c", created_at="2016-04-01T00:00:00.000000Z")
    keep(
        commands,
        id="b",
        created_at="2026-01-01T00:00:00.000000Z",
        window={**window, "to": "2016-03-01T00:00:00Z"},
    )
    keep(commands, id="d", created_at="2016-04-01T00:00:00.000001Z", window={**window, "to": None})
    keep(
        commands,
        id="a",
        created_at="2026-02-01T00:00:00.000000Z",
        window={**window, "to": "2016-02-01T00:00:00.5Z"},
    )
    assert [trial["id"] for trial in history(commands)] == ["a", "b", "c", "d"]
    assert [trial["id"] for trial in history(commands, "--last", "2")] == ["c", "d"]


def test_what_evaluate_keeps_is_named_in_that_order(commands):
    windows = [("2016-05-01", "2016-06-01"), ("2016-03-01", "2016-04-01T12:30")]
    for start, end in windows:
        trial_of(commands.evaluate("--data", "sample", "--closed-from", start, "--closed-to", end))
    trial_of(commands.evaluate("--data", "sample", "--closed-from", "2016-03-01"))
    names = [name.partition("-")[0] for name in commands.kept()]
    assert names[:2] == ["20160401T123000000000Z", "20160601T000000000000Z"]
    assert [trial["window"]["to"] for trial in history(commands)] == [
        "2016-04-01T12:30:00Z",
        "2016-06-01T00:00:00Z",
        None,
    ]


def test_what_is_no_trial_is_named_and_left_out(commands):
    for number, content in enumerate(
        [
            "",
            "{",
            "[]",
            "null",
            "[" * 100_000,
            "\xff",
            json.dumps({**TRIAL, "data": None}),
            json.dumps({**TRIAL, "window": "2016"}),
            json.dumps({**TRIAL, "id": 5}),
            json.dumps({**TRIAL, "data": {"num_obs": 1, "metrics": {"MAE": "1"}}}),
            json.dumps({**TRIAL, "data": {"num_obs": 1, "metrics": {"MAE": float("nan")}}}),
            json.dumps({**TRIAL, "data": {"num_obs": 1, "metrics": {"MAE": 10**400}}}),
            json.dumps({**TRIAL, "data": {"num_obs": 1.5, "metrics": {"MAE": 1}}}),
            json.dumps({key: value for key, value in TRIAL.items() if key != "created_at"}),
            json.dumps({**TRIAL, "scoring": {"rows": "\ud800"}}),
        ]
    ):
        commands.trials.mkdir(exist_ok=True)
        (commands.trials / f"20260103T000000000000Z-bad{number}.json").write_bytes(
            content.encode("latin-1")
        )
    (commands.trials / "20260103T000000000000Z-folder.json").mkdir()
    (commands.trials / "notes.json").write_text("{}")  # none of ours: not even looked at
    keep(commands, id="good", data={"num_obs": 10**18, "metrics": {"MAE": None}})
    for arguments in ([], ["--json"]):
        result = commands.run("history", "--last", "1", *arguments)
        assert result.returncode == 0, result.stderr
        assert "good" in result.stdout
        assert len(result.stdout.splitlines()) == (1 if arguments else 2)
        warnings = result.stderr.splitlines()
        assert len(warnings) == 16
        assert all(
            "cannot be read as a trial" in line and str(commands.trials) in line
            for line in warnings
        )


def test_only_the_last_are_read(commands):
    for number in range(30):
        keep(commands, id=f"t{number:02d}")
    count = """
import atexit, pathlib, sys
read, names = pathlib.Path.read_bytes, []
pathlib.Path.read_bytes = lambda self: (names.append(self.name), read(self))[1]
import PACKAGE.cli as command
main = command.cli.main
command.cli.main = lambda **options: (main(**options), print(len(names), file=sys.stderr))[0]
"""
    result = commands.run("history", "--last", "3", before=count)
    assert result.stderr == "3\n"
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == ["t27", "t28", "t29"]


def test_a_history_of_ten_thousand_trials(commands):
    commands.trials.mkdir()
    content = json.dumps(TRIAL)
    for number in range(10_000):
        (commands.trials / f"20260102T030405{number:06d}Z-one.json").write_text(content)
    assert len(history(commands, "--last", "10000")) == 10_000
    result = commands.run("history", "--last", "10000", limit=20)
    lines = result.stdout.splitlines()
    assert len(lines) == 10_001
    assert len({len(line) for line in lines}) == 1  # a trial a line, in columns


# An object store.


@pytest.fixture(scope="module")
def commands_with_s3fs(installed, tmp_path_factory) -> Iterator[Commands]:
    lender = installed(*existing("3"))
    project = lend_environment(bake(tmp_path_factory.mktemp("s3fs")), lender)
    version = project.run(
        project.python, "-c", "import fsspec; print(fsspec.__version__)"
    ).stdout.strip()
    uv("pip", "install", "--quiet", "--python", project.python, f"s3fs=={version}")
    commands = Commands(project)
    yield commands
    commands.close()


@pytest.fixture
def stored(commands_with_s3fs, s3, tmp_path, monkeypatch) -> Commands:
    """Commands whose trials go to `s3://store/` and the test's own prefix."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    commands_with_s3fs.folder = tmp_path
    return commands_with_s3fs


def test_trials_in_a_store(stored, tmp_path):
    place = f"s3://store/{tmp_path.name}/trials/"
    env = {"TRIALS_URL": place}
    assert history(stored, env=env) == []
    results = [stored.evaluate("--data", "sample", env=env) for _ in range(3)]
    trials = [trial_of(result) for result in results]
    assert f"kept in {place}2" in results[0].stderr
    assert [trial["id"] for trial in history(stored, env=env)] == [trial["id"] for trial in trials]
    assert history(stored, "--last", "2", env=env) == trials[1:]
    assert stored.kept() == []


def test_of_many_processes_with_one_trial_in_a_store_one_keeps_it(stored, tmp_path):
    # Each has looked, and found nothing, before any of them writes: only the store can decide.
    blind = """
import s3fs
async def exists(self, path, **options):
    return False
s3fs.S3FileSystem._exists = exists
"""
    place = f"s3://store/{tmp_path.name}"
    ended = write_at_once(stored, place, [("same", 100_000 + number) for number in range(4)], blind)
    assert sum("already exists" in err for _, err, _ in ended) == 3
    (trial,) = history(stored, env={"TRIALS_URL": place})
    write_at_once(stored, place, [("same", 7)])
    assert history(stored, env={"TRIALS_URL": place}) == [trial]
    write_at_once(stored, place, [(f"t{number}", number) for number in range(4)])
    assert len(history(stored, env={"TRIALS_URL": place})) == 5


def test_a_conflict_of_two_writers_is_tried_again(stored, tmp_path):
    """AWS answers so while another writer is at it; moto never does."""
    conflict = """
from aiobotocore.client import AioBaseClient as Client
from botocore.exceptions import ClientError
call, left = Client._make_api_call, [409]
async def answer(self, operation, arguments):
    if operation == "PutObject" and left:
        error = {"Code": "ConditionalRequestConflict", "Message": "in progress"}
        metadata = {"HTTPStatusCode": left.pop()}
        raise ClientError({"Error": error, "ResponseMetadata": metadata}, operation)
    return await call(self, operation, arguments)
Client._make_api_call = answer
"""
    env = {"TRIALS_URL": f"s3://store/{tmp_path.name}"}
    trial = trial_of(stored.evaluate("--data", "sample", env=env, before=conflict))
    assert history(stored, env=env) == [trial]
    for_ever = conflict.replace("left.pop()", "409")
    result = stored.evaluate("--data", "sample", env=env, before=for_ever)
    assert_refused(result, "TRIALS_URL", "ConditionalRequestConflict")


def test_data_in_a_store(stored, tmp_path, s3):
    url, key = f"s3://store/{tmp_path.name}/log.zip", f"{tmp_path.name}/log.zip"
    client_of(s3).put_object(Bucket="store", Key=key, Body=LOG)
    first, again = (trial_of(stored.evaluate("--data", url, "--all")) for _ in range(2))
    assert first["data"] == again["data"]
    assert first["data"]["num_obs"] == len(ROWS)
    assert first["source"] == again["source"]
    assert first["source"]["data"] == url
    client_of(s3).put_object(Bucket="store", Key=key, Body=OTHER_LOG)
    changed = trial_of(stored.evaluate("--data", url, "--all"))
    assert changed["source"]["sha256"] != first["source"]["sha256"]
    # What it holds is taken from the cache while it cannot be reached.
    unreachable = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    result = stored.evaluate("--data", url, "--all", env=unreachable)
    assert trial_of(result)["data"] == changed["data"]
    assert "Using the cached copy" in result.stderr


def test_a_log_in_a_folder_of_a_store(stored, tmp_path, s3):
    """Read as a whole, and in blocks, which read ranges of its files."""
    place, client = f"s3://store/{tmp_path.name}/logs", client_of(s3)
    many = make_rows(20_000)
    files = {"1.zip": LOG, "2.csv": make_csv(many), ".3.csv": b"x", "3.txt": b"x"}
    for name, content in files.items():
        client.put_object(Bucket="store", Key=f"{tmp_path.name}/logs/{name}", Body=content)
    trial = trial_of(stored.evaluate("--data", place, "--all"))
    assert trial["data"]["num_obs"] == len(ROWS) + len(many)
    assert trial["source"]["data"] == place
    code = """
import sys
from PACKAGE.incident_log import parse
parse.BLOCK = 100_000
frames = [block() for block in parse.iter_blocks(sys.argv[1])]
print(len(frames) > 3, sum(map(len, frames)), frames[-1].attrs["source"]["sha256"])
"""
    out, err = stored.python(code, place).communicate(timeout=60)
    found = ["True", str(len(ROWS) + len(many)), trial["source"]["sha256"]]
    assert out.split() == found, err
    wrong = make_csv([["x", "soon", "1/1/2016 10:00", "?"]])
    client.put_object(Bucket="store", Key=f"{tmp_path.name}/logs/0.csv", Body=wrong)
    assert_refused(stored.evaluate("--data", place), f"{place}/0.csv: line 2: sys_updated_at")


@pytest.mark.parametrize(
    ("url", "env", "words"),
    [
        ("s3://store/no/such.zip", {}, ["No such file"]),
        ("s3://no-such-bucket/log.zip", {}, ["The specified bucket does not exist"]),
        ("s3://store/log.zip", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ["Connect"]),
    ],
)
def test_data_that_a_store_does_not_give(stored, url, env, words):
    result = stored.evaluate("--data", url, env=env)
    assert_refused(result, f"data: cannot read {url}: ", *words)
    assert stored.cached() == stored.kept() == []


def test_what_is_no_trial_in_a_store(stored, tmp_path, s3):
    place = f"s3://store/{tmp_path.name}"
    write_at_once(stored, place, [("good", 1)])
    key = f"{tmp_path.name}/20270101T000000000000Z-bad.json"
    client_of(s3).put_object(Bucket="store", Key=key, Body=b"{")
    result = stored.run("history", "--last", "1", env={"TRIALS_URL": place})
    assert result.returncode == 0, result.stderr
    assert "good" in result.stdout
    (warning,) = result.stderr.splitlines()
    assert "Z-bad.json cannot be read as a trial" in warning


def test_a_bucket_that_is_not_there(stored):
    place = "s3://no-such-bucket/trials"
    assert_refused(
        stored.evaluate("--data", "sample", env={"TRIALS_URL": place}),
        "TRIALS_URL",
        place,
        "bucket",
    )


def test_a_store_that_cannot_be_reached(stored):
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "TRIALS_URL": "s3://store/trials"}
    for result in (stored.evaluate("--data", "sample", env=env), stored.run("history", env=env)):
        assert_refused(result, "TRIALS_URL", "s3://store/trials", "127.0.0.1")


def test_a_store_whose_package_is_missing_is_noticed_before_any_work(commands):
    place = "s3://user:hunter2@store/trials"
    result = commands.evaluate("--data", "/no/such/log.zip", env={"TRIALS_URL": place})
    assert_refused(result, "TRIALS_URL", "s3://store/trials", "Install s3fs")
    assert "hunter2" not in result.stderr
    assert_refused(commands.run("history", "--trials", place), "Install s3fs")
    assert_refused(commands.evaluate("--trials", "nosuch://store/trials"), "TRIALS_URL", "nosuch")
