<< cookiecutter | variant_file("flow.py") >>
