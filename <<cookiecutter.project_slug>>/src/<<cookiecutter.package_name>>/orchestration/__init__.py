<% if cookiecutter.prefect_version == "3" %>
"""All that talks to Prefect and Saturn Cloud."""
<% else %>
"""All that talks to Prefect and Saturn."""

from ..settings import read_env_file

read_env_file()  # before Prefect is imported, which reads its configuration from the environment
<% endif %>
