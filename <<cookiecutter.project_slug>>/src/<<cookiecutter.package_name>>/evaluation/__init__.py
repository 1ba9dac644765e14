"""What a trial measures, and how it is kept: no Prefect, no settings, none of your files."""
