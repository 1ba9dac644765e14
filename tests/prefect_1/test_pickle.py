"""What cannot run without the project is refused, before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support.site_1 import Site

LINE = '    hours = df["priority"]'
CACHED = """import functools


@functools.cache
def load_estimator():
    return 3.0
"""
LOADER = """import functools


class Loader:
    @functools.lru_cache
    def load(self):
        return 3.0


LOADER = Loader()
"""
LOCK = "import threading\n\nLOCK = threading.Lock()\n"
BY_NAME = "is sent by name only, as functions under functools.cache are"
INSIDE = "predict imports from this package, and the flow runs without it; move the import to the "


@pytest.fixture
def sent(site: Site) -> Iterator[Site]:
    """A site to which nothing may be sent."""
    before = count(site)
    yield site
    assert count(site) == before


def count(site: Site) -> tuple[int, int]:
    versions = sum(len(flow["versions"]) for flow in site.saturn.flows.values())
    return len(site.api.mutations), versions


@pytest.mark.parametrize(
    ("code", "use", "message"),
    [
        (CACHED, "load_estimator()", f"model.py: load_estimator {BY_NAME}"),
        (LOADER, "LOADER.load()", f"model.py: Loader.load {BY_NAME}"),
        ("", "from .evaluation.selection import MAX_NUMBER as n", f"model.py: {INSIDE}"),
        ("", "import ticket_model_evaluation.settings as s", f"model.py: {INSIDE}"),
        ("import helpers", "helpers.value", "model.py or data.py: .*'helpers'.*move modules"),
        (LOCK, "LOCK.locked()", "model.py or data.py: the flow cannot be pickled .*_thread.lock"),
    ],
)
def test_a_model_that_could_not_run_elsewhere_is_refused(
    sent: Site, code: str, use: str, message: str
) -> None:
    helpers = sent.project.source.parent / "helpers.py"
    helpers.write_text("value = 3.0\n")
    try:
        with sent.edited("model.py", old=LINE, new=f"    {use}\n{LINE}", end=f"\n\n{code}"):
            assert re.search(message, sent.refuses("register"))
    finally:
        helpers.unlink()


def test_a_dry_run_checks_it_too_without_any_service(sent: Site) -> None:
    use = f"    load_estimator()\n{LINE}"
    with sent.edited("model.py", old=LINE, new=use, end=f"\n\n{CACHED}"):
        line = sent.refuses("register", "--dry-run", PREFECT__CLOUD__API="http://127.0.0.1:9")
    assert f"model.py: load_estimator {BY_NAME}" in line


def test_what_a_cached_function_has_loaded_goes_along(site: Site) -> None:
    code = f"\n\n{CACHED}\n\nESTIMATOR = load_estimator()\n"
    with site.edited("model.py", old=LINE, new=f"    ESTIMATOR.hex()\n{LINE}", end=code):
        assert site.command("register").returncode == 0
        run_id = site.run("batch-size=10")
        with site.checkout_away():
            site.execute_all()
    assert site.flow_run(run_id)["state"] == "Success", site.log(run_id)
