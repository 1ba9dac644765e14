"""Variant 1 against stand-ins of its two services: the real prefect 1.4.1 and prefect-saturn."""
