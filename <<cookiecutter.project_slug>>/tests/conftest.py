"""Each test gets a clean environment and folders of its own; none reaches a network."""

from __future__ import annotations

import pandas as pd
import pytest

from << cookiecutter.package_name >> import settings


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    for name in ("DATA_URL", "DOWNLOAD_TIMEOUT"):
        monkeypatch.setenv(name, "")  # an empty variable is unset, and hides a line of .env
    monkeypatch.setenv("SATURN_USERNAME", "tester")
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TRIALS_URL", str(tmp_path / "trials"))


@pytest.fixture
def trials() -> str:
    """Where this test's trials are kept."""
    return settings.load_settings().trials


@pytest.fixture
def rows() -> pd.DataFrame:
    """Four rows, closed on consecutive days but for the last, which is open."""
    closed = pd.to_datetime(["2016-03-01", "2016-03-02", "2016-03-03", None])
    return pd.DataFrame({"closed_at": closed, "size": [1, 2, 3, 4]})
