"""Event logs to read: their rows, as CSV and as zip."""

from __future__ import annotations

import io
import random
import zipfile

COLUMNS = ["number", "sys_updated_at", "closed_at", "priority"]
PRIORITIES = ["1 - Critical", "2 - High", "3 - Moderate", "4 - Low", "?"]
MEMBER = "incident_event_log.csv"
PYTHONS = ["3.11", "3.13"]
# Python for a command to run first: attempts follow each other at once.
QUICKLY = "from urllib3.util import Retry; Retry.get_backoff_time = lambda self: 0.01"


def make_rows(count: int = 300, seed: int = 0) -> list[list[str]]:
    rng = random.Random(seed)

    def time(days: int, month: int, year: int) -> str:
        return f"{rng.randint(1, days)}/{month}/{year} {rng.randint(0, 23):02d}:00"

    return [
        [
            f"INC{row:07d}",
            time(28, rng.randint(1, 12), 2016),
            time(31, 1, 2017),
            rng.choice(PRIORITIES),
        ]
        for row in range(count)
    ]


def make_csv(rows: list[list[str]], columns: list[str] = COLUMNS) -> bytes:
    return "".join(",".join(row) + "\n" for row in [columns, *rows]).encode()


def zipped(csv: bytes, member: str = MEMBER, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr(member, csv)
    return content.getvalue()


ROWS = make_rows()
LOG = zipped(make_csv(ROWS))
OTHER_LOG = zipped(make_csv(make_rows(seed=1)))
HTML = b"<!DOCTYPE html><html><body>Down for maintenance</body></html>"
