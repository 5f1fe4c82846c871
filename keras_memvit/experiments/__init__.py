"""The paper's experiments as commands: `python -m keras_memvit.experiments`.

Imports any room; nothing imports it.
"""
