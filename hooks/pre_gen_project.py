"""Refuses bad answers before a file is written, also where no questions were asked (a replay).

cookiecutter renders a hook before it runs it, and this filter raises an error:
<< cookiecutter | check_answers >>
"""
