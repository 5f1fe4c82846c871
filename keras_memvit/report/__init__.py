"""What `learn` found as one HTML file that a person can read.

Imports `plot`, `data` and the rooms below them; jinja2, scikit-learn and Pillow where
they are used. A result is read by its attributes, so that `recipes` may call it.
"""

from keras_memvit.report.write import write

__all__ = ["write"]
