<< cookiecutter | variant_file("connect.py") >>
