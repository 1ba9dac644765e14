"""Sites, one for each module: on the oldest and the newest Python, or on the oldest alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import existing
from site_1 import Site, running_site


@pytest.fixture(scope="module", params=["newest", "3.11"])
def any_site(request, tmp_path_factory, installed) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(f"site-{request.param}")
    with running_site(folder, installed(*existing("1", request.param))) as site:
        yield site


@pytest.fixture(scope="module")
def site(tmp_path_factory, installed) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), installed(*existing("1"))) as site:
        yield site


@pytest.fixture
def registered(site: Site) -> Site:
    """A site whose flow is registered."""
    if all(row["archived"] for row in site.api.tables["flow"]):
        result = site.command("register")
        assert result.returncode == 0, result.stderr
    return site
