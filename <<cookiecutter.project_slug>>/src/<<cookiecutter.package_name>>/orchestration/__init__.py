<% if cookiecutter.prefect_version == "3" %>
"""All that talks to Prefect and Saturn Cloud.

Prefect reads its settings when it is imported: from the environment, from a home folder, and from
files in the current folder. The project has a Prefect home of its own, and its commands mean the
same in any folder, so both are chosen here, before Prefect is imported.
"""

import io
import logging
import os
import sys
from contextlib import chdir, redirect_stderr
from pathlib import Path

from pydantic import ValidationError

from ..errors import InputError
from ..settings import SLUG, project_folder, read_env_file

EXPORTED = frozenset(os.environ)  # and not from the file .env
read_env_file()
# Names a profile in the user's own home, which the project's home does not have.
USER_PROFILE = os.environ.pop("PREFECT_PROFILE", "")
PREFECT_HOME = Path(os.environ.get("PREFECT_HOME") or f"~/.prefect-{SLUG}").expanduser().absolute()
PROFILES = PREFECT_HOME / "profiles.toml"
os.environ |= {"PREFECT_HOME": str(PREFECT_HOME), "PREFECT_PROFILES_PATH": str(PROFILES)}


def first_problem(error: Exception) -> str:
    """What an error says; of pydantic's, only the first problem, without the value."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _import_prefect() -> None:
    """Import Prefect, which reads its settings while it is imported.

    Raises:
        InputError: There is a file or a variable that Prefect cannot read.
    """
    said = io.StringIO()  # it also logs and prints what it then raises
    logging.disable(logging.ERROR)
    try:
        with chdir(project_folder()), redirect_stderr(said):
            import prefect.context  # noqa: F401
    except (OSError, ValueError, AttributeError, TypeError) as error:
        where = f"{PROFILES}, prefect.toml and the variables PREFECT_... and SSL_CERT_FILE"
        problem = f"Prefect cannot read its settings ({first_problem(error)})"
        raise InputError(f"{problem}; look into {where}") from None
    finally:
        logging.disable(logging.NOTSET)
    sys.stderr.write(said.getvalue())


_import_prefect()
<% else %>
"""All that talks to Prefect and Saturn."""

from ..settings import read_env_file

read_env_file()  # before Prefect is imported, which reads its configuration from the environment
<% endif %>
