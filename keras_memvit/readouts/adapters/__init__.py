"""Adapters: a task's own changes of the weights that its class token runs through.

Imports what `readouts` imports.
"""
