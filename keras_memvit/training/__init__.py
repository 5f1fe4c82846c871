"""`compile` and `fit` for models whose outputs and labels are dicts by task.

Imports `states`, since a store trains as images do; works on any model with `specs`,
`task_layers` and `trained_tasks`.
"""
