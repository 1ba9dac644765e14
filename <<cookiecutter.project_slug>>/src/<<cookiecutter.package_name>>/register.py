<< cookiecutter | variant_file("register.py") >>
