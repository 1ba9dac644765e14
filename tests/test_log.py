"""What is in the log: it is read right, or refused in one line that says where it is wrong."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from commands import Commands, assert_refused, trial_of
from logs import COLUMNS, LOG, MEMBER, PYTHONS, ROWS, make_csv, make_rows, zipped

# zipfile and csv are Python's own; all else does not depend on its version.
on_each_python = pytest.mark.parametrize("commands_of_module", PYTHONS, indirect=True)


@on_each_python
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (make_csv([row[:3] for row in ROWS], COLUMNS[:3]), ["must name priority once"]),
        (make_csv([row[:1] for row in ROWS], COLUMNS[:1]), ["must name priority once"]),
        (make_csv([row * 2 for row in ROWS], COLUMNS * 2), ["must name number once"]),
        (
            make_csv([*ROWS, ["x", "1/1/2016 10:00", "31/2/2016 10:00", "?"]]),
            ["line 302:", "closed_at is '31/2/2016 10:00'"],
        ),
        (
            make_csv([["x", "soon", "1/1/2016 10:00", "?"], *ROWS]),
            ["line 2:", "sys_updated_at is 'soon'"],
        ),
        (make_csv([["x", "29/2/2017 10:00", "1/1/2016 10:00", "?"]]), ["line 2:", "29/2/2017"]),
        (make_csv([["x", "1/1/2016 24:00", "1/1/2016 10:00", "?"]]), ["line 2:", "24:00"]),
        (make_csv([["x", "1/13/2016 10:00", "1/1/2016 10:00", "?"]]), ["line 2:", "1/13/2016"]),
        (make_csv([["x", "1/1/2016 10:00 ", "1/1/2016 10:00x", "?"]]), ["line 2:"]),
        (make_csv([["x", "1/3/16 10:00", "1/1/2016 10:00", "?"]]), ["line 2:", "'1/3/16 10:00'"]),
        (make_csv([["x", "1/3/0000 10:00", "1/1/2016 10:00", "?"]]), ["line 2:", "'1/3/0000"]),
        (make_csv([["x", "1/3/99999 10:00", "1/1/2016 10:00", "?"]]), ["line 2:", "'1/3/99999"]),
        (make_csv([["x", f"{9**99}/3/2016 10:00", "1/1/2016 10:00", "?"]]), ["line 2:"]),
        (
            make_csv(ROWS[:2])
            + b"\n\n"
            + make_csv([['"a\nb"', "bad", "?", "?"]])[len(",".join(COLUMNS)) + 1 :],
            ["line 7:"],
        ),
        (make_csv([["x", '"a\n\x1b[2J"', "1/1/2016 10:00", "?"]]), ["line 3:", r"'a\n\x1b[2J'"]),
        (b"", ["must name number once", "''"]),
        (b"\n\n", ["must name number once"]),
        (make_csv([]), ["holds no events"]),
        (make_csv([*ROWS, ["x", "1/1/2016 10:00"]]), ["Expected 4 columns, got 2"]),
        (
            make_csv([["x", "1/1/2016 10:00", "1/1/2016 10:00", "\xff"]])
            .decode()
            .encode("latin-1"),
            ["invalid UTF8"],
        ),
        (b"x" * 200_000 + b"\n1\n", ["must name number once", "'xxxx"]),
        (b"\xff\xfe" + make_csv(ROWS).decode().encode("utf-16-le"), ["must name number once"]),
        (bytes(20_000_000), ["must name number once", r"'\x00"]),
        (b",".join(b"%d" % n for n in range(1_000_000)), ["must name number once", "'0,1,2"]),
        (b'"' + b"x," * 1_000_000, ["begins with '\"x,x,", "has a quote that is not closed"]),
        (
            make_csv([*ROWS, ["y", "1/1/2016 10:00", "1/1/2016 10:00", '"'], *ROWS]),
            ["begins with 'y,"],
        ),
    ],
    ids=lambda value: ascii(value[-30:]) if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_log_that_is_wrong(commands, tmp_path, content, words, as_zip):
    path = tmp_path / ("log.zip" if as_zip else "log.csv")
    path.write_bytes(zipped(content) if as_zip else content)
    assert_refused(commands.evaluate("--data", path), f"data: cannot read {path}: ", *words)
    assert commands.kept() == commands.cached() == []


@on_each_python
@pytest.mark.parametrize(
    "content",
    [
        make_csv(
            [[row[3], "extra", row[0], row[2], row[1], "?"] for row in ROWS],
            ["priority", "x", "number", "closed_at", "sys_updated_at", "y"],
        ),
        b"\xef\xbb\xbf" + make_csv(ROWS),
        make_csv(ROWS).replace(b"\n", b"\r\n"),
        make_csv(ROWS).replace(b"\n", b"\r"),
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
        "old Mac",
        "quotes",
        "line breaks in quotes",
        "empty lines",
    ],
)
def test_a_log_in_another_form(commands, tmp_path, content):
    (tmp_path / "plain.csv").write_bytes(make_csv(ROWS))
    (tmp_path / "other.CSV").write_bytes(content)
    plain, other = (
        trial_of(commands.evaluate("--all", "--data", tmp_path / name))
        for name in ("plain.csv", "other.CSV")
    )
    assert plain["data"] == other["data"]
    assert plain["data"]["num_obs"] == len(ROWS)


@on_each_python
@pytest.mark.parametrize("first_quote", [0, 59_990])
def test_line_breaks_in_quotes_over_many_pieces(commands, tmp_path, first_quote):
    rows = make_rows(60_000)
    for index, row in enumerate(rows):
        row[0] = f'"{"a" * (index % 37)}\n"' if index >= first_quote else "a" * 40
    (tmp_path / "log.csv").write_bytes(make_csv(rows))
    trial = trial_of(commands.evaluate("--all", "--data", tmp_path / "log.csv"))
    assert trial["data"]["num_obs"] == 60_000


def test_a_large_log_without_line_feeds(commands, tmp_path):
    content = make_csv(make_rows(60_000)).replace(b"\n", b"\r")
    (tmp_path / "log.csv").write_bytes(content)
    trial = trial_of(commands.evaluate("--all", "--data", tmp_path / "log.csv"))
    assert trial["data"]["num_obs"] == 60_000


@on_each_python
def test_a_wrong_time_far_down_is_named_by_its_line(commands, tmp_path):
    rows = make_rows(60_000)
    rows[59_000][2] = "30/2/2017 10:00"
    (tmp_path / "log.zip").write_bytes(zipped(make_csv(rows)))
    result = commands.evaluate("--data", tmp_path / "log.zip")
    assert_refused(result, "line 59002: closed_at is '30/2/2017 10:00'")


def test_rows_that_lack_a_time_are_left_out(commands, tmp_path):
    missing = [["x", "?", "1/1/2017 10:00", "?"], ["y", "1/1/2016 10:00", "", "?"]]
    (tmp_path / "log.csv").write_bytes(make_csv(ROWS + missing))
    trial = trial_of(commands.evaluate("--all", "--data", tmp_path / "log.csv"))
    assert trial["data"]["num_obs"] == len(ROWS)


# Zips.


@on_each_python
@pytest.mark.parametrize("size", [100, 2**32 - 2])
def test_a_zip_that_is_wrong_about_its_size(commands, tmp_path, size):
    content = bytearray(LOG)
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = size.to_bytes(4, "little")
    (tmp_path / "log.zip").write_bytes(content)
    result = commands.evaluate("--data", tmp_path / "log.zip")
    if size == 100:
        assert_refused(result, "cannot read", "check it")
    else:  # all that there is was read, and its checksum is right
        assert trial_of(result)["data"]["num_obs"] == len(ROWS)


@on_each_python
@pytest.mark.parametrize("broken", [False, True])
def test_a_zip_that_is_not_deflated(commands, tmp_path, broken):
    content = bytearray(zipped(make_csv(ROWS), method=zipfile.ZIP_LZMA))
    if broken:
        content[60:200] = bytes(140)
    (tmp_path / "log.zip").write_bytes(content)
    result = commands.evaluate("--data", tmp_path / "log.zip")
    assert_refused(result, f"must hold {MEMBER}, deflated or stored")


@on_each_python
def test_names_in_a_zip_stay_in_one_line(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(zipped(b"", "a\nError: b\x1b[2J.csv"))
    assert_refused(commands.evaluate("--data", tmp_path / "log.zip"), r"['a\nError: b\x1b[2J.csv']")


@on_each_python
def test_a_wrong_checksum_ends_no_process_badly(commands, tmp_path):
    content = bytearray(zipped(make_csv(make_rows(60_000))))
    directory = content.rfind(b"PK\x01\x02")
    content[14:18] = content[directory + 16 : directory + 20] = b"\0\0\0\0"
    (tmp_path / "log.zip").write_bytes(content)
    for _ in range(2):
        process = commands.start("evaluate", "--data", str(tmp_path / "log.zip"))
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        (line,) = err.splitlines()
        assert "Bad CRC-32" in line


@on_each_python
@pytest.mark.parametrize("quotes", [b"", b'"'])
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_log_that_is_too_large(commands, tmp_path, as_zip, quotes):
    row = b"INC1,1/1/2016 10:00,2/1/2016 10:00," + quotes + b"3 - Moderate" + quotes + b"\n"
    content = make_csv([]) + row * 200_000
    path = tmp_path / "log"
    path.write_bytes(zipped(content) if as_zip else content)
    result = commands.evaluate("--data", path, env={"DATA_MAX_MB": "5"})
    assert_refused(result, "holds more than 5 MB; if it should, raise DATA_MAX_MB")
    if as_zip and not quotes:
        result = commands.evaluate("--data", path, env={"DATA_MAX_MB": "0.01"})
        assert_refused(result, "holds more than 0.01 MB")
        assert trial_of(commands.evaluate("--data", path))["data"]["num_obs"] == 1000


# Paths, and stores.


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing.zip", "No such file"), (".", "holds no .csv, no .parquet"), ("x" * 300, "too long")],
)
def test_a_path_that_cannot_be_read(commands, tmp_path, path, reason):
    result = commands.evaluate("--data", tmp_path / path)
    assert_refused(result, "cannot read", reason, "--data sample (with make: DATA=sample)")


def test_other_urls_are_read_as_trials_are(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(LOG)
    for url in (f"file://{tmp_path}/log.zip", f"zip://{MEMBER}::file://{tmp_path}/log.zip"):
        assert trial_of(commands.evaluate("--all", "--data", url))["data"]["num_obs"] == len(ROWS)
    fill = "import fsspec; fsspec.filesystem('memory').pipe('/log.csv', {!r})"
    before = fill.format(make_csv(ROWS))
    trial = trial_of(commands.evaluate("--all", "--data", "memory://log.csv", before=before))
    assert trial["data"]["num_obs"] == len(ROWS)
    assert trial["source"]["data"] == "memory://log.csv"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///no/such/log.zip", ["No such file"]),
        ("s3://store/log.zip", ["Install s3fs"]),
        ("gs://store/log.zip", ["install gcsfs"]),
        ("nosuch://store/log.zip", ["Protocol not known: nosuch"]),
        ("ftp://127.0.0.1:9/log.zip", ["Connection refused"]),
        ("zip://other.csv::file://LOG", ["zip://...", "other.csv"]),
    ],
)
def test_a_url_that_cannot_be_read(commands, tmp_path, url, words):
    (tmp_path / "log.zip").write_bytes(LOG)
    result = commands.evaluate("--data", url.replace("LOG", f"{tmp_path}/log.zip"))
    assert_refused(result, "data: cannot read ", *words)


# Parquet.

# Writes rows as Parquet: `times` is the type of times, a Python expression, None for text.
WRITE = """
import json, sys
import pandas as pd, pyarrow as pa, pyarrow.parquet as pq
path, columns, times, group, then = sys.argv[1:]
rows = json.load(open(path))
table = pa.table({name: pa.array([row[i] for row in rows], "string")
                  for i, name in enumerate(json.loads(columns))})
for index in (1, 2) if eval(times) else ():
    parsed = pd.to_datetime(table.column(index).to_pandas(), format="%d/%m/%Y %H:%M", utc=True)
    column = pa.array(parsed, pa.timestamp("ns", "UTC")).cast(eval(times))
    table = table.set_column(index, table.column_names[index], column)
exec(then)
pq.write_table(table, path, row_group_size=int(group))
"""


def write_parquet(
    commands: Commands,
    path: Path,
    rows: list[list[str]],
    times: str = "None",
    group: int = 100_000,
    then: str = "",
) -> None:
    path.write_text(json.dumps(rows))
    result = commands.code(WRITE, path, json.dumps(COLUMNS), times, str(group), then)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "times",
    [
        "None",
        *(f"pa.timestamp('{unit}')" for unit in ("s", "us")),
        "pa.timestamp('ns', 'Asia/Tokyo')",
    ],
)
def test_a_log_in_parquet(commands, tmp_path, times):
    (tmp_path / "log.csv").write_bytes(make_csv(ROWS))
    write_parquet(commands, tmp_path / "log.parquet", ROWS, times)
    plain, other = (
        trial_of(commands.evaluate("--all", "--data", tmp_path / name))
        for name in ("log.csv", "log.parquet")
    )
    assert plain["data"] == other["data"]
    assert plain["groups"] == other["groups"]
    assert plain["segments"] == other["segments"]


@pytest.mark.parametrize(
    ("rows", "then", "words"),
    [
        (
            [*ROWS, ["x", "1/1/2016 10:00", "31/2/2016 10:00", "?"]],
            "",
            ["row 301: closed_at is '31/2/2016 10:00', not D/M/YYYY HH:MM"],
        ),
        ([], "", ["holds no events"]),
        (ROWS, "table = table.drop(['priority'])", ["must hold the column priority once; its"]),
        (
            ROWS,
            "table = table.set_column(2, 'closed_at', pa.array(range(300)))",
            ["the column closed_at holds int64, not times"],
        ),
    ],
    ids=["time", "no rows", "column", "type"],
)
def test_a_parquet_file_that_is_wrong(commands, tmp_path, rows, then, words):
    path = tmp_path / "log.parquet"
    write_parquet(commands, path, rows, then=then)
    assert_refused(commands.evaluate("--data", path), f"data: cannot read {path}: ", *words)


def test_half_a_parquet_file(commands, tmp_path):
    write_parquet(commands, path := tmp_path / "log.parquet", ROWS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(commands.evaluate("--data", path), f"data: cannot read {path}: ", "Parquet")


def test_a_parquet_file_of_more_rows_than_fit(commands, tmp_path):
    """A million equal rows take a few kB, but 24 MB in memory."""
    path, many = tmp_path / "log.parquet", "table = table.take([0] * 1_000_000)"
    write_parquet(commands, path, ROWS[:1], "pa.timestamp('s')", 10**6, many)
    assert path.stat().st_size < 1_000_000
    result = commands.evaluate("--data", path, env={"DATA_MAX_MB": "20"})
    assert_refused(result, "holds more than 20 MB; if it should, raise DATA_MAX_MB")


# Folders.


def fill(commands: Commands, folder: Path) -> None:
    """Each third of the rows in another form, and files that are not part of the log."""
    folder.mkdir()
    (folder / "a.CSV").write_bytes(make_csv(ROWS[:100]))
    (folder / "b.zip").write_bytes(zipped(make_csv(ROWS[100:200])))
    write_parquet(commands, folder / "c.parquet", ROWS[200:])
    for other in (".hidden.csv", "_temporary.csv", "README.md", "_SUCCESS"):
        (folder / other).write_bytes(b"x")
    (folder / "subfolder").mkdir()


def test_a_folder_is_read_in_the_order_of_its_names(commands, tmp_path):
    (tmp_path / "log.csv").write_bytes(make_csv(ROWS))
    fill(commands, tmp_path / "folder")
    plain, other = (
        trial_of(commands.evaluate("--seed", "3", "--batch-size", "50", "--data", tmp_path / name))
        for name in ("log.csv", "folder")
    )
    assert plain["data"] == other["data"]
    assert other["source"]["data"] == str(tmp_path / "folder")
    assert len(other["source"]["sha256"]) == 64


def test_a_folder_is_read_again_when_a_file_of_it_changes(commands, tmp_path):
    fill(commands, folder := tmp_path / "folder")
    first = trial_of(commands.evaluate("--all", "--data", folder))
    again = trial_of(commands.evaluate("--all", "--data", folder))
    assert first["source"] == again["source"]
    (folder / "a.CSV").write_bytes(make_csv(ROWS[:50]))
    changed = trial_of(commands.evaluate("--all", "--data", folder))
    assert changed["data"]["num_obs"] == len(ROWS) - 50
    assert changed["source"]["sha256"] != first["source"]["sha256"]
    (folder / "b.zip").rename(folder / "z.zip")
    moved = trial_of(commands.evaluate("--all", "--data", folder))
    assert moved["source"]["sha256"] != changed["source"]["sha256"]
    assert len(commands.cached()) == 1


def test_what_is_wrong_in_a_folder_is_named_with_its_file(commands, tmp_path):
    fill(commands, folder := tmp_path / "folder")
    wrong = make_csv([*ROWS[:7], ["x", "1/1/2016 10:00", "31/2/2016 10:00", "?"]])
    (folder / "b.zip").write_bytes(zipped(wrong))
    result = commands.evaluate("--data", folder)
    assert_refused(result, f"cannot read {folder}/b.zip: line 9: closed_at is '31/2/2016 10:00'")
    (folder / "b.zip").write_bytes(zipped(b"a\n", "other.csv"))
    result = commands.evaluate("--data", folder)
    assert_refused(result, f"cannot read {folder}/b.zip: it must hold {MEMBER}")


def test_a_folder_in_another_store(commands, tmp_path):
    fill(commands, folder := tmp_path / "folder")
    plain = trial_of(commands.evaluate("--all", "--data", folder))
    put = "; ".join(
        f"fsspec.filesystem('memory').pipe('/logs/{path.name}', {path.read_bytes()!r})"
        for path in folder.iterdir()
        if path.is_file()
    )
    before = f"import fsspec; {put}"
    found = trial_of(commands.evaluate("--all", "--data", "memory://logs", before=before))
    assert found["data"] == plain["data"]
    assert found["source"] == {**plain["source"], "data": "memory://logs"}


# Blocks.

# Prints whether blocks, after a journey, give the rows of the log, and how many blocks there are.
COMPARE = """
import json, pickle, sys
import pandas as pd
from PACKAGE import data
from PACKAGE.evaluation.selection import make_selection
from PACKAGE.incident_log import parse
parse.BLOCK = 100_000
selection = make_selection(sys.argv[1], batch_size=None)
blocks = [pickle.dumps(block) for block in data.blocks(selection)]
frames = [pickle.loads(block)() for block in reversed(blocks)][::-1]
whole = data.get_ticket_data_batch(selection)
texts = {"number": str, "priority": str}
joined = pd.concat([frame.astype(texts) for frame in frames], ignore_index=True)
pd.testing.assert_frame_equal(joined, whole.astype(texts))
assert frames[-1].attrs == whole.attrs, (frames[-1].attrs, whole.attrs)
assert not any(frame.attrs for frame in frames[:-1])
# Drawn from closing times alone, the rows are the same.
some = make_selection(sys.argv[1], batch_size=20, seed=5, closed_from="2017-01-05")
narrow = some.draw(joined[["closed_at"]], closed_at="closed_at")
drawn = data.get_ticket_data_batch(some)
assert list(narrow.index) == list(drawn.index)
print(len(blocks), len(joined), max(map(len, blocks)))
"""


def compare(commands: Commands, source: Path | str, **env: str) -> list[int]:
    """How many blocks, and rows, there are; and how many bytes the largest pickle has."""
    result = commands.code(COMPARE, str(source), **env)
    assert result.returncode == 0, result.stderr
    return [int(number) for number in result.stdout.split()]


def quoted(rows: list[list[str]], form: str) -> bytes:
    if form == "quotes":
        return make_csv([[f'"{value}"' for value in row] for row in rows])
    if form == "line breaks in quotes":
        return make_csv([[f'"{row[0]}\n,""\n{row[0]}"', *row[1:]] for row in rows])
    if form == "byte order mark":
        header = '\ufeff"number"' + make_csv([]).decode()[len("number") :]
        return header.encode() + quoted(rows, "line breaks in quotes").partition(b"\n")[2]
    return make_csv(rows).replace(b"\n", b"\r\n" if form == "Windows" else b"\n\n")


@pytest.mark.parametrize(
    "form",
    ["quotes", "line breaks in quotes", "byte order mark", "Windows", "empty lines"],
)
def test_blocks_of_a_csv_file_are_the_log(commands, tmp_path, form):
    rows = make_rows(60_000)
    rows[30_000][2] = "?"  # left out
    (tmp_path / "log.csv").write_bytes(quoted(rows, form))
    blocks, found, size = compare(commands, tmp_path / "log.csv")
    assert found == 59_999
    assert blocks > 5
    assert size < 1000


def test_a_quote_that_is_not_closed_takes_no_rows_away(commands, tmp_path):
    rows = make_rows(60_000)
    rows[25_000][-1] = '"never'
    (tmp_path / "log.csv").write_bytes(make_csv(rows))
    assert_refused(commands.evaluate("--data", tmp_path / "log.csv"), rows[25_000][0], "not closed")


def test_a_block_may_have_no_row_that_counts(commands, tmp_path):
    rows = make_rows(10_000)
    for row in rows[3_000:6_000]:
        row[2] = None
    write_parquet(commands, tmp_path / "log.parquet", rows, "pa.timestamp('ms')", 3_000)
    assert compare(commands, tmp_path / "log.parquet")[:2] == [4, 7_000]


def test_a_quote_within_a_value_is_left_to_the_parser(commands, tmp_path):
    rows = make_rows(60_000)
    rows[25_000][0] = 'a 5" disk'
    rows[50_000][0] = '"a\nb"'
    (tmp_path / "log.csv").write_bytes(make_csv(rows))
    blocks, found, _ = compare(commands, tmp_path / "log.csv")
    assert (blocks > 2, found) == (True, 60_000)


def test_blocks_of_a_parquet_file_are_its_row_groups(commands, tmp_path):
    rows = make_rows(10_000)
    write_parquet(commands, tmp_path / "log.parquet", rows, "pa.timestamp('ms')", 3_000)
    assert compare(commands, tmp_path / "log.parquet")[:2] == [4, 10_000]


def test_blocks_of_a_folder_a_zip_and_the_sample(commands, tmp_path):
    fill(commands, folder := tmp_path / "folder")
    assert compare(commands, folder)[:2] == [3, 300]
    (folder / "d.csv").write_bytes(make_csv(make_rows(20_000)))
    assert compare(commands, folder)[0] > 5
    (tmp_path / "log.zip").write_bytes(LOG)
    assert compare(commands, tmp_path / "log.zip")[:2] == [1, 300]
    assert compare(commands, "sample")[0] == 1


@pytest.mark.parametrize("place", [0, 700, 59_000])
def test_a_wrong_time_in_a_block_is_named_by_the_line_of_the_file(commands, tmp_path, place):
    rows = make_rows(60_000)
    rows[2][0] = '"a\nb"'
    rows[place][2] = "30/2/2017 10:00"
    (tmp_path / "log.csv").write_bytes(make_csv(rows))
    read = """
import sys
from PACKAGE.errors import exit_on_input_error
from PACKAGE.incident_log import parse
parse.BLOCK = 100_000
with exit_on_input_error():
    blocks = list(parse.iter_blocks(sys.argv[1]))
    assert len(blocks) > 5
    frames = [block() for block in blocks]
"""
    result = commands.code(read, tmp_path / "log.csv")
    err = result.stderr
    line = place + 2 + (place > 2)
    words = f"{tmp_path}/log.csv: line {line}: closed_at is '30/2/2017 10:00'"
    assert (result.returncode, words in err, len(err.splitlines())) == (2, True, 1), err


def test_a_file_that_became_shorter_is_refused(commands, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(make_csv(make_rows(20_000)))
    read = """
import os, sys
from PACKAGE.errors import exit_on_input_error
from PACKAGE.incident_log import parse
parse.BLOCK = 100_000
with exit_on_input_error():
    blocks = list(parse.iter_blocks(sys.argv[1]))
    os.truncate(sys.argv[1], 300_000)
    frames = [block() for block in blocks]
"""
    result = commands.code(read, path)
    assert result.returncode == 2, result.stderr
    assert "became shorter while it was read" in result.stderr
