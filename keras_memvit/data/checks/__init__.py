"""Is a data set what it should be: damaged, double, leaking, mislabelled, odd images.

Imports `backbones` and the rooms below it, and the rest of `data`; Pillow and
scikit-learn where they are used.
"""

from keras_memvit.data.checks.check import check
from keras_memvit.data.checks.findings import DataCheck

__all__ = ["DataCheck", "check"]
