"""What is in the log: it is read right, or refused in one line that says where it is wrong."""

from __future__ import annotations

import zipfile

import pytest
from commands import assert_refused, trial_of
from logs import COLUMNS, LOG, MEMBER, PYTHONS, ROWS, make_csv, make_rows, zipped

pytestmark = pytest.mark.parametrize("commands_of_module", PYTHONS, indirect=True)


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
        (b"", ["must name number once", "b''"]),
        (b"\n\n", ["must name number once"]),
        (make_csv([]), ["holds no events"]),
        (make_csv([*ROWS, ["x", "1/1/2016 10:00"]]), ["Expected 4 columns, got 2"]),
        (
            make_csv([["x", "1/1/2016 10:00", "1/1/2016 10:00", "\xff"]])
            .decode()
            .encode("latin-1"),
            ["invalid UTF8"],
        ),
        (b"x" * 200_000 + b"\n1\n", ["must name number once", "b'xxxx"]),
        (b"\xff\xfe" + make_csv(ROWS).decode().encode("utf-16-le"), ["must name number once"]),
        (bytes(20_000_000), ["must name number once", r"b'\x00"]),
        (b",".join(b"%d" % n for n in range(1_000_000)), ["must name number once", "b'0,1,2"]),
        (b'"' + b"x," * 1_000_000, ["must name number once"]),
    ],
    ids=lambda value: ascii(value[-30:]) if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_a_log_that_is_wrong(commands, tmp_path, content, words, as_zip):
    path = tmp_path / ("log.zip" if as_zip else "log.csv")
    path.write_bytes(zipped(content) if as_zip else content)
    assert_refused(commands.evaluate("--data", path), f"data: cannot read {path}: ", *words)
    assert commands.kept() == commands.cached() == []


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


@pytest.mark.parametrize("first_quote", [0, 59_990])
def test_line_breaks_in_quotes_over_many_pieces(commands, tmp_path, first_quote):
    rows = make_rows(60_000)
    for index, row in enumerate(rows):
        row[0] = f'"{"a" * (index % 37)}\n"' if index >= first_quote else "a" * 40
    (tmp_path / "log.csv").write_bytes(make_csv(rows))
    trial = trial_of(commands.evaluate("--all", "--data", tmp_path / "log.csv"))
    assert trial["data"]["num_obs"] == 60_000


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


@pytest.mark.parametrize("broken", [False, True])
def test_a_zip_that_is_not_deflated(commands, tmp_path, broken):
    content = bytearray(zipped(make_csv(ROWS), method=zipfile.ZIP_LZMA))
    if broken:
        content[60:200] = bytes(140)
    (tmp_path / "log.zip").write_bytes(content)
    result = commands.evaluate("--data", tmp_path / "log.zip")
    assert_refused(result, f"must hold {MEMBER}, deflated or stored")


def test_names_in_a_zip_stay_in_one_line(commands, tmp_path):
    (tmp_path / "log.zip").write_bytes(zipped(b"", "a\nError: b\x1b[2J.csv"))
    assert_refused(commands.evaluate("--data", tmp_path / "log.zip"), r"['a\nError: b\x1b[2J.csv']")


def test_a_wrong_checksum_ends_no_process_badly(commands, tmp_path):
    content = bytearray(zipped(make_csv(make_rows(60_000))))
    directory = content.rfind(b"PK\x01\x02")
    content[14:18] = content[directory + 16 : directory + 20] = b"\0\0\0\0"
    (tmp_path / "log.zip").write_bytes(content)
    for _ in range(3):
        process = commands.start("evaluate", "--data", str(tmp_path / "log.zip"))
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        (line,) = err.splitlines()
        assert "Bad CRC-32" in line


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
