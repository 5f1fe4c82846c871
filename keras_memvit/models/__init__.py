"""A frozen backbone and its tasks as one Keras model; making models from models.

Imports `training`, since a model trains itself, and the rooms below it.
"""
