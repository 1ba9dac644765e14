"""A log from a web server that serves it badly: it is read all the same, or refused in one line."""

from __future__ import annotations

import gzip
import os
import signal
import time
from collections.abc import Iterator

import pytest
from commands import assert_refused, trial_of
from logs import HTML, LOG, QUICKLY, ROWS, make_csv, zipped
from servers.files import Answer, FileServer

# Memory for 400 MB more than what is taken now.
LITTLE_MEMORY = """
import pathlib, resource
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 400_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(LOG[: len(LOG) // 2]), ["not a zip file", "check it"]),
        (Answer(LOG[:-3000] + b"\0" * 100 + LOG[-2900:]), ["invalid", "check it"]),
        (Answer(LOG, sent=len(LOG) // 2, length=False), ["not a zip file", "check it"]),
        (Answer(HTML), ["must name number", "<!DOCTYPE html>", "check it"]),
        (Answer(b""), ["must name number", "begins with ''"]),
        (
            Answer(zipped(b"a\n", "other.csv")),
            ["must hold incident_event_log.csv", "['other.csv']"],
        ),
        (Answer(HTML, status=404), ["it answered 404", "check it"]),
        (Answer(HTML, status=403), ["it answered 403", "check it"]),
        (Answer(status=304), ["it answered 304", "check it"]),
        (Answer(HTML, status=500), ["it answered 500", "--data sample (with make: DATA=sample)"]),
        (Answer(LOG, sent=len(LOG) // 2), ["connection failed: IncompleteRead", "--data sample"]),
        (Answer(LOG, sent=len(LOG) // 2, chunked=True), ["connection failed", "--data sample"]),
        (Answer(sent=-1), ["connection failed: Remote end closed connection", "--data sample"]),
        (Answer(status=302, headers={"Location": "/log.zip"}), ["redirects", "check it"]),
        (Answer(status=302, headers={"Location": "ftp://127.0.0.1/x"}), ["adapters", "check it"]),
    ],
)
def test_a_server_that_answers_badly(commands, server, answer, words):
    url = server.serve("/log.zip", answer)
    result = commands.evaluate("--data", url, before=QUICKLY)
    assert_refused(result, f"data: cannot read {url}: ", *words)
    assert commands.kept() == commands.cached() == []


@pytest.mark.parametrize("sent", [-1, 0, 1000])
def test_a_server_that_stalls(commands, server, sent):
    url = server.serve("/log.zip", Answer(LOG, sent=sent, then="stall"))
    env = {"DOWNLOAD_TIMEOUT": "0.3"}
    result = commands.evaluate("--data", url, before=QUICKLY, env=env)
    assert_refused(result, "/log.zip: connection failed: timed out (DOWNLOAD_TIMEOUT=0.3)")
    assert result.stderr.count("timed out") == 4
    assert commands.kept() == commands.cached() == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(sent=-1, then="trickle"),
        Answer(LOG, sent=1000, then="trickle"),
        Answer(gzip.compress(b"") * 100, 200, {"Content-Encoding": "gzip"}, sent=0, then="trickle"),
    ],
    ids=["status and headers", "body", "empty blocks"],
)
def test_a_server_that_trickles_without_end(commands, server, answer):
    url = server.serve("/log.zip", answer)
    start = time.monotonic()
    result = commands.evaluate("--data", url, env={"DOWNLOAD_MAX_SECONDS": "0.5"})
    assert_refused(result, "/log.zip", "not complete within DOWNLOAD_MAX_SECONDS")
    assert time.monotonic() - start < 5


def test_a_process_ends_although_a_download_does_not(commands, server):
    url = server.serve("/log.zip", Answer(sent=-1, then="stall"))
    process = commands.start("evaluate", "--data", url, DOWNLOAD_MAX_SECONDS="0.5")
    out, err = process.communicate(timeout=30)  # the server stalls for longer
    assert (process.returncode, out) == (2, "")
    (line,) = err.splitlines()
    assert "not complete within DOWNLOAD_MAX_SECONDS" in line


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """2 GB in about 50 kB."""
    return gzip.compress(gzip.compress(bytes(2_000_000_000), 1), 1)


@pytest.mark.parametrize("status", [200, 302])
def test_a_body_that_would_fill_the_memory(commands, server, bomb, status):
    headers = {"Content-Encoding": "gzip, gzip", "Location": "/elsewhere"}
    url = server.serve("/log.zip", Answer(bomb, status=status, headers=headers))
    env = {"DATA_MAX_MB": "20"}
    result = commands.evaluate("--data", url, before=LITTLE_MEMORY, env=env)
    words = ["holds more than 20 MB", "raise DATA_MAX_MB"] if status == 200 else ["answered 404"]
    assert_refused(result, "/log.zip", *words)
    assert commands.kept() == commands.cached() == []


@pytest.mark.parametrize(
    "bad",
    [
        Answer(status=500),
        Answer(status=429),
        Answer(LOG, sent=2000),
        Answer(LOG, sent=2000, chunked=True),
        Answer(sent=-1),
    ],
)
def test_a_server_that_recovers(commands, server, bad):
    url = server.serve("/log.zip", bad, bad, bad, Answer(LOG))
    result = commands.evaluate("--data", url, before=QUICKLY)
    assert trial_of(result)["data"]["num_obs"] == len(ROWS)
    assert len(server.requests) == 4
    assert result.stderr.count("trying again") == 3


def test_retry_after_is_waited_for_within_limits(commands, server):
    asked = [Answer(status=503, headers={"Retry-After": value}) for value in ("2", "99999", "soon")]
    url = server.serve("/log.zip", *asked, Answer(LOG))
    record = """
import sys
from urllib3.util import retry
retry.time.sleep = lambda seconds: print("slept", seconds, file=sys.stderr)
"""
    result = commands.evaluate("--data", url, before=record)
    trial_of(result)
    assert [line for line in result.stderr.splitlines() if "slept" in line] == [
        "slept 2",
        "slept 30",
    ]


def test_chunks_and_compression_are_undone(commands, server):
    url = server.serve("/log.zip", Answer(LOG, chunked=True))
    packed = Answer(gzip.compress(make_csv(ROWS)), headers={"Content-Encoding": "gzip"})
    for address in (url, server.serve("/log.csv", packed)):
        assert trial_of(commands.evaluate("--data", address))["data"]["num_obs"] == len(ROWS)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1/log.zip",
        "http://127.0.0.1:99999/log.zip",
        "http://a..b/log.zip",
    ],
)
def test_an_invalid_address(commands, url):
    assert_refused(commands.evaluate("--data", url, before=QUICKLY), "data: cannot read http")


def test_a_server_that_does_not_run(commands, server):
    url = server.serve("/log.zip", Answer(LOG))
    server.server.server_close()
    result = commands.evaluate("--data", url, before=QUICKLY)
    assert_refused(
        result, f"data: cannot read {url}: connection failed: Connection refused", "DATA=sample"
    )


def test_the_older_address_is_asked_on_404_only(commands, server):
    url, older = server.serve("/new.zip", Answer(status=404)), server.serve("/old.zip", Answer(LOG))
    default = f"""
from PACKAGE.incident_log import fetch, parse
fetch.URL, fetch.OLDER_URL, parse.URL = {url!r}, {older!r}, {url!r}
{QUICKLY}
"""
    assert trial_of(commands.evaluate(before=default))["source"]["data"] == older
    server.serve("/old.zip", Answer(status=404))
    assert_refused(commands.evaluate(before=default), "it answered 404")
    server.serve("/new.zip", Answer(status=503))
    commands.cache.rename(commands.folder / "not the cache")
    assert_refused(commands.evaluate(before=default), "/new.zip", "503")


def test_secrets_in_an_address_are_neither_shown_nor_kept(commands, server):
    url = server.serve("/log.zip", Answer(LOG), Answer(status=404))
    url = url.replace("//", "//user:hunter2@") + "?token=hunter3"
    results = [commands.evaluate("--data", url), commands.evaluate("--data", url)]
    assert [result.returncode for result in results] == [0, 2]
    files = [path for path in commands.folder.rglob("*") if path.is_file()]
    assert len(files) == 2  # the cached log, the trial
    told = "".join(result.stdout + result.stderr for result in results).encode()
    assert b"hunter" not in told + b"".join(
        path.read_bytes() + path.name.encode() for path in files
    )


@pytest.mark.parametrize(
    "address",
    [
        "http://user:hunter2@127.0.0.1:99999/log.zip?token=hunter3",
        "http://user:hunter2@é..x/log.zip?token=hunter3",
        "http://user:hunter2@127.0.0.1:9/log.zip?token=hunter3",
        "http://user:hunter2@[::1/log.zip?token=hunter3",
        "ftp://user:hunter2@127.0.0.1:9/log.zip?token=hunter3",
        "nosuch://user:hunter2@127.0.0.1:9/log.zip?token=hunter3",
        "zip://log.csv::http://user:hunter2@127.0.0.1:9/log.zip?token=hunter3",
    ],
)
def test_secrets_in_a_bad_address_are_not_shown(commands, address):
    result = commands.evaluate("--data", address, before=QUICKLY)
    assert "hunter" not in result.stdout + result.stderr
    assert_refused(result, "data: cannot read ")


def test_killed_during_the_download(commands, server):
    url = server.serve("/log.zip", Answer(LOG, sent=2000, then="stall"), Answer(LOG))
    process = commands.start("evaluate", "--data", url)
    assert server.midway.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert commands.kept() == commands.cached() == []
    trial_of(commands.evaluate("--data", url))


def test_refusals_of_the_real_command(commands, server):
    """As a person runs it: what the other tests fork is the same."""
    url = server.serve("/log.zip", Answer(LOG, sent=500), Answer(HTML))
    process = commands.start("evaluate", "--data", url)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    first, last = err.splitlines()
    assert first.startswith("data: attempt 1 of 4: connection failed: IncompleteRead")
    assert last.startswith(f"Error: data: cannot read {url}: its header must name number once")
    assert last.endswith(
        "; check it, or take synthetic tickets: --data sample (with make: DATA=sample)"
    )
