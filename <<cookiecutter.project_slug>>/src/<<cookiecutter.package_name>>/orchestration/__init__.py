<% if cookiecutter.prefect_version == "3" %>
"""All that talks to Prefect and Saturn Cloud.

Prefect reads its settings when it is imported: from the environment, from a home folder, and from
files in the current folder. The project has a Prefect home of its own, and its commands mean the
same in any folder, so both are chosen here, before Prefect is imported.
"""

import os
from contextlib import chdir
from pathlib import Path

from ..errors import InputError
from ..settings import SLUG, project_folder, read_env_file

read_env_file()
# Names a profile in the user's own home, which the project's home does not have.
USER_PROFILE = os.environ.pop("PREFECT_PROFILE", "")
PREFECT_HOME = Path(os.environ.get("PREFECT_HOME") or f"~/.prefect-{SLUG}").expanduser().absolute()
PROFILES = PREFECT_HOME / "profiles.toml"
os.environ |= {"PREFECT_HOME": str(PREFECT_HOME), "PREFECT_PROFILES_PATH": str(PROFILES)}
try:
    with chdir(project_folder()):
        import prefect.context  # noqa: F401
except ValueError as error:  # a file or a variable that Prefect cannot read
    where = f"{PROFILES}, prefect.toml and the variables PREFECT_..."
    raise InputError(f"Prefect cannot read its settings ({error}); look into {where}") from None
<% else %>
"""All that talks to Prefect and Saturn."""

from ..settings import read_env_file

read_env_file()  # before Prefect is imported, which reads its configuration from the environment
<% endif %>
