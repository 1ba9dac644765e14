"""All of Prefect and Saturn Cloud."""
<% if cookiecutter.prefect_version == "1" %>

from ..settings import read_env_file

# Before any module here imports Prefect, which reads its configuration from the environment once.
read_env_file()
<% endif %>
