"""One answer over the classes of all tasks, from what `unify` fits.

Imports `training` and the rooms below it, as `models` does.
"""
