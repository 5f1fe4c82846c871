"""The readout that `docs/readouts.md` shows, as the page has it."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "readouts.md"

(_code,) = [
    code
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    if "class MeanPatch" in code
]
exec(compile(_code, str(PAGE), "exec"), globals())
