"""What `learn` may spend."""

import numbers
import re

_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2}


def parse_budget(budget):
    """`{"seconds", "candidates", "bytes"}`, those that are bounded.

    Args:
        budget: None; a number, of seconds; a string such as `"200kB"`; or a dict.
    """
    if budget is None:
        return {}
    if isinstance(budget, numbers.Real) and not isinstance(budget, bool):
        budget = {"seconds": budget}
    if isinstance(budget, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|kB|MB)", budget)
        budget = {"bytes": float(found[1]) * _UNITS[found[2]]} if found else None
    if (
        not isinstance(budget, dict)
        or set(budget) - {"seconds", "candidates", "bytes"}
        or not all(isinstance(v, numbers.Real) and v > 0 for v in budget.values())
        or budget.get("candidates", 1) != int(budget.get("candidates", 1))
    ):
        raise ValueError(
            "`budget` must be seconds, bytes such as '200kB', or a dict with some of "
            "'seconds', 'candidates' and 'bytes', positive numbers. "
            f"Received: budget={budget!r}"
        )
    return budget
