"""Files that are whole or not there at all.

Imports the standard library alone.
"""
