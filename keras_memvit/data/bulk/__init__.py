"""Bulk: pictures by the million, by many workers of a Ray cluster.

Imports `models`, `states` and the modules of `data` that read pictures; Ray, pyarrow
and TensorFlow (for TFRecords) where they are used.
"""
