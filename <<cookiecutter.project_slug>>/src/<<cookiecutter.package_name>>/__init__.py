"""One trial of a model per run: data, target, prediction, metrics, summary; see README.md."""

import atexit
import gc

# Imports make some 240,000 objects, which stay. To look for garbage among them, again and again
# and once more at the end, takes a fifth of a short command.
gc.set_threshold(50_000, 20, 20)
atexit.register(gc.freeze)
