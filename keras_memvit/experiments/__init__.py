"""The paper's experiments as commands: `python -m keras_memvit.experiments`."""
