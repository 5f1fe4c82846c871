"""A Griffe extension: docstrings as Markdown shows them well.

Examples of `>>>` become code blocks, and what stands under `Example:`, `Reference:`
and `Call arguments:` gets a heading; the other parts mkdocstrings knows.
"""

import re

import griffe

DOCTEST = re.compile(r"(?:^ *(?:>>>|\.\.\.).*\n?)(?:^ *\S.*\n?)*", re.M)
KNOWN_TO_MARKDOWN_ONLY = re.compile(r"^(Example|Reference):(?: (.*))?$", re.M)


def _as_code(example):
    return f"```python\n{example.group().rstrip()}\n```\n"


class Docstrings(griffe.Extension):
    """Rewrites each docstring once, when it is read."""

    def on_instance(self, *, obj, **_):
        if obj.docstring is not None and not obj.is_alias:
            text = DOCTEST.sub(_as_code, obj.docstring.value)
            text = KNOWN_TO_MARKDOWN_ONLY.sub(r"**\1.** \2", text)
            text = re.sub(r"^Call arguments:$", "Call arguments:", text, flags=re.M)
            obj.docstring.value = text
