"""What a trial measures, and how it is kept: no Prefect, no settings, none of your files."""

from .gate import Gate
from .scoring import Metric, Scoring, Unit, absolute_error, squared_error

__all__ = ["Gate", "Metric", "Scoring", "Unit", "absolute_error", "squared_error"]
