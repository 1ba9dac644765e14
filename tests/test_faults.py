"""Faults of data and of what is asked for: one line that says what, where and how to mend it; nothing lost."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import time
import zipfile
from collections.abc import Iterator

import pytest
from commands import assert_refused, trial_of
from servers.files import Answer, FileServer

COLUMNS = ["number", "sys_updated_at", "closed_at", "priority"]
PRIORITIES = ["1 - Critical", "2 - High", "3 - Moderate", "4 - Low", "?"]
# Other versions of pandas and pyarrow than on newer Pythons are locked for 3.10.
pytestmark = pytest.mark.parametrize("commands_of_module", ["3.10", "3.13"], indirect=True)
QUICKLY = "from PACKAGE import download; download.SECONDS_BETWEEN = 0.01"
HTML = b"<!DOCTYPE html><html><body>Down for maintenance</body></html>"


def make_rows(count: int = 300, seed: int = 0) -> list[list[str]]:
    rng = random.Random(seed)
    return [
        [
            f"INC{row:07d}",
            f"{rng.randint(1, 28)}/{rng.randint(1, 12)}/2016 {rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
            f"{rng.randint(1, 31)}/1/2017 {rng.randint(0, 23):02d}:00",
            rng.choice(PRIORITIES),
        ]
        for row in range(count)
    ]


def make_csv(rows: list[list[str]], columns: list[str] = COLUMNS) -> bytes:
    return "".join(",".join(row) + "\n" for row in [columns, *rows]).encode()


def zipped(csv: bytes, member: str = "incident_event_log.csv") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, csv)
    return content.getvalue()


ROWS = make_rows()
LOG = zipped(make_csv(ROWS))
OTHER_LOG = zipped(make_csv(make_rows(seed=1)))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


# What a server does.


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(LOG[: len(LOG) // 2]), ["is a damaged zip", "get it anew"]),
        (Answer(LOG[:-3000] + b"\0" * 100 + LOG[-2900:]), ["is a damaged zip", "get it anew"]),
        (Answer(LOG, sent=len(LOG) // 2, length=False), ["is a damaged zip", "get it anew"]),
        (Answer(HTML), ["neither a zip nor a .csv", "<!DOCTYPE html>", "check the address"]),
        (Answer(b""), ["neither a zip nor a .csv", "check the address"]),
        (Answer(zipped(b"a\n", "other.csv")), ["holds no incident_event_log.csv, but other.csv"]),
        (Answer(HTML, status=404), ["404", "check the address, or set DATA_URL"]),
        (Answer(HTML, status=403), ["403", "check the address, or set DATA_URL"]),
        (Answer(status=304), ["304", "check the address"]),
        (Answer(HTML, status=500), ["500", "4 times", "try again later"]),
        (Answer(LOG, sent=len(LOG) // 2), ["broke off", "4 times", "--data sample"]),
        (Answer(LOG, sent=len(LOG) // 2, chunked=True), ["broke off", "4 times", "--data sample"]),
        (Answer(sent=-1), ["cannot reach http", "4 times", "--data sample"]),
        (Answer(status=302, headers={"Location": "/log.zip"}), ["redirects", "check the address"]),
        (
            Answer(status=302, headers={"Location": "ftp://127.0.0.1/x"}),
            ["cannot be asked for", "check the address"],
        ),
    ],
)
def test_a_server_that_answers_badly(commands, server, answer, words):
    url = server.serve("/log.zip", answer)
    assert_refused(commands.evaluate("--data", url, before=QUICKLY), "/log.zip", *words)
    assert commands.kept() == commands.cached() == []


@pytest.mark.parametrize("sent", [-1, 0, 1000])
def test_a_server_that_stalls(commands, server, sent):
    url = server.serve("/log.zip", Answer(LOG, sent=sent, then="stall"))
    result = commands.evaluate("--data", url, env={"DOWNLOAD_TIMEOUT": "0.3"})
    assert_refused(result, "/log.zip sent nothing for 0.3 s", "DOWNLOAD_TIMEOUT")
    assert commands.kept() == commands.cached() == []


def test_a_server_that_trickles_for_ever(commands, server):
    url = server.serve("/log.zip", Answer(LOG, sent=1000, then="trickle"))
    result = commands.evaluate(
        "--data", url, before="from PACKAGE import download; download.TOTAL_SECONDS = 0.3"
    )
    assert_refused(result, "/log.zip was still sending after 0.3 s", "give its path")


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
from PACKAGE import download
download.time.sleep = lambda seconds: print("slept", seconds, file=sys.stderr)
"""
    result = commands.evaluate("--data", url, before=record)
    trial_of(result)
    assert [line for line in result.stderr.splitlines() if "slept" in line] == [
        "slept 2.0",
        "slept 30.0",
        "slept 2.0",
    ]


def test_chunks_and_compression_are_undone(commands, server):
    url = server.serve("/log.zip", Answer(LOG, chunked=True))
    assert trial_of(commands.evaluate("--data", url))["data"]["num_obs"] == len(ROWS)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1/log.zip",
        "http://127.0.0.1:99999/log.zip",
        "ftp://127.0.0.1/log.zip",
        "http://a..b/log.zip",
    ],
)
def test_what_is_no_address(commands, url):
    assert_refused(commands.evaluate("--data", url, before=QUICKLY), "data: ")


def test_a_server_that_is_not_there(commands, server):
    url = server.serve("/log.zip", Answer(LOG))
    server.server.server_close()
    assert_refused(
        commands.evaluate("--data", url, before=QUICKLY),
        f"cannot reach {url} (",
        "Connection refused",
    )


def test_the_older_address_is_asked_on_404_only(commands, server):
    url, older = server.serve("/new.zip", Answer(status=404)), server.serve("/old.zip", Answer(LOG))
    default = f"from PACKAGE import data; data.URL, data.OLDER_URL = {url!r}, {older!r}; {QUICKLY}"
    assert trial_of(commands.evaluate(before=default))["source"]["data"] == older
    server.serve("/new.zip", Answer(status=503))
    assert_refused(commands.evaluate(before=default), "/new.zip", "503")


def test_secrets_in_an_address_are_neither_shown_nor_kept(commands, server):
    url = (
        server.serve("/log.zip", Answer(LOG), Answer(status=404)).replace("//", "//user:hunter2@")
        + "?token=hunter3"
    )
    results = [commands.evaluate("--data", url), commands.evaluate("--data", url)]
    assert [result.returncode for result in results] == [0, 2]
    files = [path for path in commands.folder.rglob("*") if path.is_file()]
    assert len(files) == 3  # download, Parquet, trial
    told = "".join(result.stdout + result.stderr for result in results).encode()
    assert b"hunter" not in told + b"".join(
        path.read_bytes() + path.name.encode() for path in files
    )


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "é..x", "127.0.0.1:9", "[::1"])
def test_secrets_are_not_shown_of_an_address_that_will_not_do(commands, host):
    result = commands.evaluate(
        "--data", f"http://user:hunter2@{host}/log.zip?token=hunter3", before=QUICKLY
    )
    assert "hunter" not in result.stdout + result.stderr
    assert_refused(result, "data: ")


# The cache.


def test_what_is_unchanged_is_not_sent_again(commands, server):
    url = server.serve(
        "/log.zip",
        Answer(LOG, etag='"1"', headers={"Last-Modified": "Mon, 29 Feb 2016 01:16:00 GMT"}),
    )
    first, second = (trial_of(commands.evaluate("--data", url, "--all")) for _ in range(2))
    assert [headers.get("if-none-match") for _, headers in server.requests] == [None, '"1"']
    assert server.requests[1][1]["if-modified-since"] == "Mon, 29 Feb 2016 01:16:00 GMT"
    assert first["data"] == second["data"]
    assert first["source"] == second["source"]
    assert first["id"] != second["id"]


def test_what_has_changed_takes_the_place_of_what_was(commands, server):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'), Answer(OTHER_LOG, etag='"2"'))
    first, second = (trial_of(commands.evaluate("--data", url, "--all")) for _ in range(2))
    assert first["source"]["sha256"] != second["source"]["sha256"]
    assert len(commands.cached()) == 2


@pytest.mark.parametrize(
    "bad",
    [
        Answer(HTML, etag='"2"'),
        Answer(LOG[:3000], etag='"1"'),
        Answer(status=404),
        Answer(status=403),
    ],
)
def test_a_bad_answer_does_not_take_a_good_files_place(commands, server, bad):
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
    "bad", [Answer(status=503), Answer(LOG, sent=0, then="stall"), Answer(sent=-1)]
)
def test_a_server_that_fails_is_done_without(commands, server, bad):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'), bad)
    first = trial_of(commands.evaluate("--data", url, "--all"))
    result = commands.evaluate(
        "--data", url, "--all", before=QUICKLY, env={"DOWNLOAD_TIMEOUT": "0.3"}
    )
    assert trial_of(result)["data"] == first["data"]
    assert "Taking the copy in the cache, which may be old" in result.stderr


@pytest.mark.parametrize("suffix", [".download", ".parquet"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "flipped", "removed", "overwritten"])
def test_a_damaged_cache_is_noticed(commands, server, suffix, damage):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'))
    first = trial_of(commands.evaluate("--data", url, "--all"))
    (file,) = commands.cache.glob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    if damage == "removed":
        file.unlink()
    else:
        content[len(content) // 2] ^= 0x10
        damaged = {
            "emptied": b"",
            "cut": content[:-20],
            "flipped": content,
            "overwritten": b'{"etag": []}',
        }
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
    assert (len(commands.cached()), len(commands.kept())) == (2, 3)
    assert "is damaged" not in result.stderr
    assert server.requests[-1][1]["if-none-match"] == '"1"'


def test_killed_during_the_download(commands, server):
    url = server.serve("/log.zip", Answer(LOG, sent=2000, then="stall"), Answer(LOG))
    process = commands.start("evaluate", "--data", url)
    assert server.midway.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert commands.kept() == commands.cached() == []
    trial_of(commands.evaluate("--data", url))


@pytest.mark.parametrize("nth", [1, 2])  # the Parquet, the download
def test_killed_while_the_cache_is_written(commands, server, nth):
    url = server.serve("/log.zip", Answer(LOG, etag='"1"'))
    kill = f"""
import os, pathlib
calls = []
def replace(self, target):
    calls.append(target)
    if len(calls) == {nth}:
        os.kill(os.getpid(), 9)
    os.replace(self, target)
pathlib.Path.replace = replace
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
    assert len(commands.cached()) == 2


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"  # files can grow no further


def test_a_full_disk_costs_only_the_cache(commands, server):
    big = make_rows(20_000)
    url = server.serve("/log.zip", Answer(zipped(make_csv(big))))
    result = commands.evaluate("--data", url, before=FULL.format(16384))
    assert trial_of(result)["data"]["num_obs"] == 1000
    assert result.stderr.count("not kept: cannot write to") == 2
    assert commands.cached() == []
    assert len(commands.kept()) == 1


@pytest.mark.parametrize(
    "folder", ["/dev/null/cache", "/sys/cache"]
)  # a file in the way; what nobody can write to
def test_a_cache_that_cannot_be_written_costs_time_only(commands, server, folder):
    url = server.serve("/log.zip", Answer(LOG))
    result = commands.evaluate("--data", url, env={"CACHE_DIR": folder})
    trial_of(result)
    assert result.stderr.count(f"not kept: cannot write to {folder}") == 2
    assert "is damaged" not in result.stderr


# What is in the log.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (make_csv([row[:3] for row in ROWS], COLUMNS[:3]), ["no column priority"]),
        (make_csv([row[:1] for row in ROWS], COLUMNS[:1]), ["no column sys_updated_at"]),
        (
            make_csv([*ROWS, ["x", "1/1/2016 10:00", "31/2/2016 10:00", "?"]]),
            ["line 302", "31/2/2016 10:00", "closed_at"],
        ),
        (
            make_csv([["x", "soon", "1/1/2016 10:00", "?"], *ROWS]),
            ["line 2 ", "'soon'", "sys_updated_at"],
        ),
        (make_csv([["x", "29/2/2017 10:00", "1/1/2016 10:00", "?"]]), ["line 2 ", "29/2/2017"]),
        (make_csv([["x", "1/1/2016 24:00", "1/1/2016 10:00", "?"]]), ["line 2 ", "24:00"]),
        (make_csv([["x", "1/13/2016 10:00", "1/1/2016 10:00", "?"]]), ["line 2 ", "1/13/2016"]),
        (make_csv([["x", "1/1/2016 10:00 ", "1/1/2016 10:00x", "?"]]), ["line 2 "]),
        (
            make_csv(ROWS[:2])
            + b"\n\n"
            + make_csv([['"a\nb"', "bad", "?", "?"]])[len(",".join(COLUMNS)) + 1 :],
            ["line 7 "],
        ),
        (b"", ["is empty"]),
        (b"\n\n", ["is empty"]),
        (make_csv([]), ["is empty"]),
        (make_csv([*ROWS, ["x", "1/1/2016 10:00"]]), ["cannot be read"]),
        (
            make_csv([["x", "1/1/2016 10:00", "1/1/2016 10:00", "\xff"]])
            .decode()
            .encode("latin-1"),
            ["cannot be read"],
        ),
        (b"x" * 200_000 + b"\n1\n", ["no column"]),
        (b"\xff\xfe" + make_csv(ROWS).decode().encode("utf-16-le"), ["no column"]),
    ],
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_log_that_will_not_do(commands, tmp_path, content, words, as_zip):
    path = tmp_path / ("log.zip" if as_zip else "log.csv")
    path.write_bytes(zipped(content) if as_zip else content)
    assert_refused(commands.evaluate("--data", path), str(path), *words)
    assert commands.kept() == commands.cached() == []


@pytest.mark.parametrize(
    "content",
    [
        make_csv(
            [[row[3], "extra", row[2], row[1], "?"] for row in ROWS],
            ["priority", "x", "closed_at", "sys_updated_at", "y"],
        ),
        b"\xef\xbb\xbf" + make_csv(ROWS),
        make_csv(ROWS).replace(b"\n", b"\r\n"),
        make_csv(
            [[f'"{value}"' for value in row] for row in ROWS], [f'"{name}"' for name in COLUMNS]
        ),
        make_csv([[f'"a,\n{row[0]}"', *row[1:]] for row in ROWS]),
        b"\n" + make_csv(ROWS)[:-1],
    ],
    ids=[
        "order and extra columns",
        "byte order mark",
        "Windows",
        "quotes",
        "line breaks in quotes",
        "empty lines",
    ],
)
def test_a_log_that_does_as_well(commands, tmp_path, content):
    (tmp_path / "plain.csv").write_bytes(make_csv(ROWS))
    (tmp_path / "other.CSV").write_bytes(content)
    plain, other = (
        trial_of(commands.evaluate("--all", "--data", tmp_path / name))
        for name in ("plain.csv", "other.CSV")
    )
    assert plain["data"] == other["data"]
    assert plain["data"]["num_obs"] == len(ROWS)


def test_line_breaks_in_quotes_over_many_blocks(commands, tmp_path):
    rows = [[f'"{"a" * (row % 37)}\n"', *rest] for row, (_, *rest) in enumerate(make_rows(60_000))]
    (tmp_path / "log.csv").write_bytes(make_csv(rows))
    assert (
        trial_of(commands.evaluate("--all", "--data", tmp_path / "log.csv"))["data"]["num_obs"]
        == 60_000
    )


def test_rows_that_lack_a_time_are_left_out(commands, tmp_path):
    missing = [["x", "?", "1/1/2017 10:00", "?"], ["y", "1/1/2016 10:00", "", "?"]]
    (tmp_path / "log.csv").write_bytes(make_csv(ROWS + missing))
    assert trial_of(commands.evaluate("--all", "--data", tmp_path / "log.csv"))["data"][
        "num_obs"
    ] == len(ROWS)


@pytest.mark.parametrize("size", [100, 2**32 - 2])
def test_a_zip_that_lies_about_its_size(commands, tmp_path, size):
    content = bytearray(LOG)
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = size.to_bytes(4, "little")
    (tmp_path / "log.zip").write_bytes(content)
    result = commands.evaluate("--data", tmp_path / "log.zip")
    if size == 100:
        assert_refused(result, "is a damaged zip")
    else:  # all that there is was read, and its checksum is right
        assert trial_of(result)["data"]["num_obs"] == len(ROWS)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing.zip", "No such file"), (".", "Is a directory"), ("x" * 300, "File name too long")],
)
def test_a_path_that_will_not_do(commands, tmp_path, path, reason):
    assert_refused(
        commands.evaluate("--data", tmp_path / path),
        "cannot read",
        reason,
        "give a path, a URL or `sample`",
    )


# What is asked for.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch-size", "0"], ["batch_size", "'0'", "from 1 to"]),
        (["--batch-size=-1"], ["batch_size", "'-1'"]),
        (["--batch-size", "x"], ["batch_size", "'x'"]),
        (["--batch-size", "1.5"], ["batch_size", "'1.5'"]),
        (["--batch-size", ""], ["batch_size", "''"]),
        (["--batch-size", str(10**9 + 1)], ["batch_size", "1000000001"]),
        (["--batch-size", "5", "--all"], ["batch_size"]),
        (["--seed", "-1"], ["seed"]),
        (["--seed", str(2**32)], ["seed"]),
        (
            ["--closed-from", "2016-05-01", "--closed-to", "2016-04-01"],
            ["closed_to", "is not after closed_from"],
        ),
        (
            ["--closed-from", "2016-05-01", "--closed-to", "2016-05-01"],
            ["closed_to", "is not after closed_from"],
        ),
        (["--closed-from", "yesterday"], ["closed_from", "'yesterday' is no time", "2016-03-01"]),
        (["--closed-to", "31/2/2016"], ["closed_to", "is no time"]),
        (["--closed-to", ""], ["closed_to", "is no time"]),
        (["--closed-from", "0001-01-01T00:00+12:00"], ["closed_from", "is no time"]),
        (["--closed-last", "1y"], ["closed_last", "'1y'", "say 24h"]),
        (["--closed-last", "0d"], ["closed_last", "'0d'"]),
        (["--closed-last", "99999w"], ["closed_last", "'99999w'", "up to 9999"]),
        (["--closed-last", "1d", "--closed-to", "2016-05-01"], ["closed_last", "one or the other"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
)
def test_what_cannot_be_asked_for(commands, arguments, words):
    assert_refused(commands.evaluate("--data", "sample", *arguments), *words)
    assert commands.kept() == []


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none(commands, value):
    assert_refused(
        commands.evaluate(env={"DOWNLOAD_TIMEOUT": value}), "DOWNLOAD_TIMEOUT", repr(value)
    )


def test_a_batch_larger_than_the_log_takes_all_and_says_so(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(LOG)
    result = commands.evaluate("--data", tmp_path / "log.zip", "--batch-size", str(10**9))
    assert trial_of(result)["data"]["num_obs"] == len(ROWS)
    assert "there are only 300 tickets: taking all" in result.stderr


def test_a_window_without_tickets_ends_well_without_a_trial(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(LOG)
    result = commands.evaluate("--data", tmp_path / "log.zip", "--closed-from", "2030-01-01")
    assert (result.returncode, result.stdout, commands.kept()) == (0, "", [])
    assert "nothing to evaluate" in result.stderr


def test_refusals_of_the_real_command(commands, server):
    """As a person runs it: what the other tests fork is the same."""
    url = server.serve("/log.zip", Answer(LOG, sent=500), Answer(HTML))
    process = commands.start("evaluate", "--data", url)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines()[0].startswith("data: attempt 1 of 4")
    problem = "is neither a zip nor a .csv, it begins with '<!DOCTYPE html><html><body>Dow'; check the address"
    assert err.splitlines()[1:] == [f"Error: data: {url} {problem}"]
