"""What a task is, whom it sees, and its file; no tensors.

Imports `files` and NumPy.
"""
