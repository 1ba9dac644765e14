"""The cache of the log: it saves time, and never costs more than that."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from commands import assert_refused, trial_of
from logs import HTML, LOG, OTHER_LOG, QUICKLY, make_csv, make_rows, zipped
from servers.files import Answer, FileServer


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


def test_what_is_unchanged_is_not_sent_again(commands, server):
    changed = "Mon, 29 Feb 2016 01:16:00 GMT"
    url = server.serve("/log.zip", Answer(LOG, etag='"1"', headers={"Last-Modified": changed}))
    first, second = (trial_of(commands.evaluate("--data", url, "--all")) for _ in range(2))
    assert [headers.get("if-none-match") for _, headers in server.requests] == [None, '"1"']
    assert server.requests[1][1]["if-modified-since"] == changed
    assert first["data"] == second["data"]
    assert first["source"] == second["source"]
    assert first["id"] != second["id"]


def test_a_header_that_cannot_be_sent_back_is_not(commands, server):
    headers = {"Last-Modified": "\xa0Mon, 29 Feb 2016 01:16:00 GMT"}
    url = server.serve("/log.zip", Answer(LOG, etag='"1"', headers=headers))
    for _ in range(2):
        trial_of(commands.evaluate("--data", url))
    assert server.requests[1][1]["if-none-match"] == '"1"'
    assert "if-modified-since" not in server.requests[1][1]


def test_a_changed_log_replaces_the_cached_one(commands, server):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'), Answer(OTHER_LOG, etag='"2"'))
    first, second = (trial_of(commands.evaluate("--data", url, "--all")) for _ in range(2))
    assert first["source"]["sha256"] != second["source"]["sha256"]
    assert len(commands.cached()) == 1


@pytest.mark.parametrize(
    "bad",
    [
        Answer(HTML, etag='"2"'),
        Answer(LOG[:3000], etag='"1"'),
        Answer(status=404),
        Answer(status=403),
    ],
)
def test_a_bad_answer_does_not_replace_a_good_log(commands, server, bad):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'), bad, Answer(LOG, etag='"1"'))
    first = trial_of(commands.evaluate("--data", url, "--all"))
    before = commands.cached()
    # A server whose file is damaged would not say that it is unchanged.
    if bad.etag == '"1"':
        server.answers["/log.zip"][0] = Answer(LOG[:3000])
    assert commands.evaluate("--data", url).returncode == 2
    assert commands.cached() == before
    assert trial_of(commands.evaluate("--data", url, "--all"))["data"] == first["data"]
    assert server.requests[-1][1]["if-none-match"] == '"1"'


@pytest.mark.parametrize(
    "bad",
    [
        Answer(status=503),
        Answer(sent=-1),
        Answer(LOG, sent=0, then="stall"),
        Answer(LOG, sent=0, then="trickle"),
    ],
)
def test_without_its_server_the_cached_log_is_used(commands, server, bad):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'), bad)
    first = trial_of(commands.evaluate("--data", url, "--all"))
    env = {"DOWNLOAD_TIMEOUT": "0.3", "DOWNLOAD_MAX_SECONDS": "3"}
    result = commands.evaluate("--data", url, "--all", before=QUICKLY, env=env)
    assert trial_of(result)["data"] == first["data"]
    assert "Using the cached copy, which may be out of date" in result.stderr


@pytest.mark.parametrize("damage", ["emptied", "cut", "flipped", "removed", "overwritten"])
def test_a_damaged_cache_is_noticed(commands, server, damage):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'))
    first = trial_of(commands.evaluate("--data", url, "--all"))
    (file,) = commands.cache.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "removed":
        file.unlink()
    else:
        content[len(content) // 2] ^= 0x10
        damaged = {"emptied": b"", "cut": content[:-20], "flipped": content, "overwritten": b"{}"}
        file.write_bytes(damaged[damage])
    for attempt in (1, 2):
        result = commands.evaluate("--data", url, "--all")
        assert trial_of(result)["data"] == first["data"]
        assert trial_of(result)["source"] == first["source"]
        if damage != "removed":
            assert ("is damaged" in result.stderr) == (attempt == 1), result.stderr


def test_two_at_once_on_an_empty_cache(commands, server):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'))
    running = [commands.start("evaluate", "--data", url, "--all") for _ in range(2)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    data = [json.loads(out)["data"] for (out, _), _ in ended]
    result = commands.evaluate("--data", url, "--all")
    assert trial_of(result)["data"] == data[0] == data[1]
    assert (len(commands.cached()), len(commands.kept())) == (1, 3)
    assert "is damaged" not in result.stderr
    assert server.requests[-1][1]["if-none-match"] == '"1"'


def test_killed_while_the_cache_is_written(commands, server):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'))
    kill = """
import os, pathlib
pathlib.Path.replace = lambda self, target: os.kill(os.getpid(), 9)
"""
    assert commands.evaluate("--data", url, before=kill).returncode == -signal.SIGKILL
    assert commands.kept() == []
    (part,) = commands.cache.glob(".*.part")
    result = commands.evaluate("--data", url)
    trial_of(result)
    assert "is damaged" not in result.stderr
    # Another process may still be writing: a part goes when it has grown old.
    assert part.exists()
    os.utime(part, (time.time() - 7200,) * 2)
    server.serve("/log.zip", Answer(OTHER_LOG, etag='"2"'))
    trial_of(commands.evaluate("--data", url))
    assert len(commands.cached()) == 1


# Files can grow no further.
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))"


def test_a_full_disk_costs_only_the_cache(commands, server):
    url = server.serve("/log.zip", Answer(zipped(make_csv(make_rows(20_000)))))
    result = commands.evaluate("--data", url, before=FULL)
    assert trial_of(result)["data"]["num_obs"] == 1000
    assert result.stderr.count("not cached: cannot write to") == 1
    assert commands.cached() == []
    assert len(commands.kept()) == 1


@pytest.mark.parametrize(
    "folder", ["/dev/null/cache", "/sys/cache"]
)  # a file in the way; what nobody can write to
def test_a_cache_that_cannot_be_written_only_costs_time(commands, server, folder):
    url = server.serve("/log.zip", Answer(LOG))
    result = commands.evaluate("--data", url, env={"CACHE_DIR": folder})
    trial_of(result)
    assert result.stderr.count(f"not cached: cannot write to {folder}") == 1
    assert "is damaged" not in result.stderr


@pytest.mark.parametrize("name", ["DOWNLOAD_TIMEOUT", "DOWNLOAD_MAX_SECONDS", "DATA_MAX_MB"])
@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_not_one(commands, name, value):
    assert_refused(commands.evaluate(env={name: value}), name, repr(value))
