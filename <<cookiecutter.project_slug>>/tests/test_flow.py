<< cookiecutter | variant_file("test_flow.py") >>
