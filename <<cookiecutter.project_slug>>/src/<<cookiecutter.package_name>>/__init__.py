"""One trial of a model per run: data, target, prediction, metrics, summary; see README.md."""
