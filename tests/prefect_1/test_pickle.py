"""What cannot run without the project is refused, before anything is sent."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import existing
from projects import bake, run
from site_1 import Site

LINE = '    hours = df["priority"]'
CACHED = """import functools


@functools.cache
def load_estimator():
    return 3.0
"""
LOCK = "import threading\n\nLOCK = threading.Lock()\n"
BY_NAME = "is sent by name only, as functions under functools.cache are"
INSIDE = "imports from this package, and the flow runs without it; move the import to the top of"


def test_own_imports_stand_at_the_top(tmp_path: Path) -> None:
    """Inside a function they would fail where a pickled flow runs; cli.py is never pickled."""
    project = bake(tmp_path, prefect_version="1")
    for path in project.source.rglob("*.py"):
        tree = ast.parse(path.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inside = {
            node.lineno
            for function in functions
            for node in ast.walk(function)
            if (isinstance(node, ast.ImportFrom) and node.level)
            or (isinstance(node, ast.Import | ast.ImportFrom) and names(node, project.package))
        }
        assert not inside or path.name == "cli.py", (path, inside)


def names(node: ast.Import | ast.ImportFrom, package: str) -> bool:
    found = (
        [node.module] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
    )
    return any(str(name).partition(".")[0] == package for name in found)


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
    use = f"    from .settings import SLUG as slug\n{LINE}"
    with sent.edited("model.py", old=LINE, new=use):
        line = sent.refuses("register", "--dry-run", PREFECT__CLOUD__API="http://127.0.0.1:9")
    assert f"model.py: predict {INSIDE}" in line


def test_nothing_is_pickled_that_newer_pythons_cannot_pickle(site: Site, installed) -> None:
    # Python 3.12 and 3.13 warn of what 3.14 refuses.
    project = installed(*existing("1", "newest"))
    env = {**site.env, "PYTHONWARNINGS": "error:Pickle:DeprecationWarning"}
    result = project.run(project.command, "register", "--dry-run", env=env)
    assert result.returncode == 0, result.stderr


def test_what_a_cached_function_has_loaded_goes_along(site: Site) -> None:
    code = f"\n\n{CACHED}\n\nESTIMATOR = load_estimator()\n"
    with site.edited("model.py", old=LINE, new=f"    ESTIMATOR.hex()\n{LINE}", end=code):
        assert site.command("register").returncode == 0
        run_id = site.run("batch-size=10")
        with site.checkout_away():
            site.execute_all()
    assert site.flow_run(run_id)["state"] == "Success", site.log(run_id)


# The check alone, on small packages.

CHECK = """
import importlib.util, pathlib, sys
import cloudpickle
import mine.part.model

file, folder = sys.argv[1:]
spec = importlib.util.spec_from_file_location("pickle_check", file)
pickle_check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pickle_check)
cloudpickle.register_pickle_by_value(mine)
pickled = cloudpickle.dumps(mine.part.model.predict)
print(pickle_check.find_problem(pickled, "mine", {pathlib.Path(folder)}))
"""
METHOD = """import functools
class Loader:
    @functools.lru_cache
    def load(self): pass
LOADER = Loader()
def predict(): LOADER.load()
"""
NESTED = """def predict():
    def inner():
        from .. import other
        return other
    return inner()
"""


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (f"{CACHED}\ndef predict(): load_estimator()", f"part/model.py: load_estimator {BY_NAME}"),
        (METHOD, f"part/model.py: Loader.load {BY_NAME}"),
        (
            "import typing\nT = typing.NewType('T', int)\ndef predict(): T",
            f"part/model.py: T {BY_NAME}",
        ),
        ("def predict(): from ..other import VALUE", f"part/model.py: predict {INSIDE}"),
        ("def predict(): import mine.other", f"part/model.py: predict {INSIDE}"),
        (NESTED, f"part/model.py: predict {INSIDE}"),
        ("from . import later\ndef predict(): later.use()", f"part/later.py: use {INSIDE}"),
        ("import beside\ndef predict(): beside.VALUE", "No module named 'beside'"),
        ("from beside import Thing\ndef predict(): Thing", "No module named 'beside'"),
        ("print('x')\nfrom .. import other\ndef predict(): return other.VALUE", ""),
        ("from ..other import f\ndef predict(): import json, minetoo; f()", ""),
        (f"{CACHED}\nE = load_estimator()\ndef predict(): return E", ""),
    ],
)
def test_the_check_names_what_cannot_be_sent(
    site: Site, tmp_path: Path, code: str, problem: str
) -> None:
    part = tmp_path / "mine" / "part"
    part.mkdir(parents=True)
    for file, text in (
        (part / "__init__.py", ""),
        (part / "model.py", code),
        (part / "later.py", "def use(): from . import model\n"),
        (part.parent / "__init__.py", ""),
        (part.parent / "other.py", "VALUE = 3\ndef f(): return VALUE\n"),
        (tmp_path / "beside.py", "VALUE = 3\nclass Thing: pass\n"),
    ):
        file.write_text(text)
    check = site.project.source / "orchestration" / "pickle_check.py"
    env = {"PYTHONPATH": str(tmp_path)}
    result = run(site.project.python, "-c", CHECK, check, tmp_path, env=env, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = result.stdout.removeprefix("x\n").rstrip("\n")
    assert (problem in found) if problem else (found == "")
