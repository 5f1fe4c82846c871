"""A Griffe extension: this library's docstrings as Markdown."""

import re
import textwrap

import griffe

HEADINGS = "Args|Call arguments|Returns|Raises|Attributes|Example|Reference"
HEADING = re.compile(rf"^({HEADINGS}):", re.M)
ITEM = re.compile(r"^([\w*][\w*, ]*):", re.M)
DOCTEST = re.compile(r"(?:^>>>.*\n?)(?:^\S.*\n?)*", re.M)


class Docstrings(griffe.Extension):
    """Rewrites each docstring once, when it is read."""

    def on_instance(self, *, obj, **_):
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text):
    """A heading for each part, a list for what has names, blocks for examples."""
    summary, *parts = HEADING.split(text)
    written = [summary.strip()]
    for heading, body in zip(parts[::2], parts[1::2]):
        body = textwrap.dedent(body.strip("\n"))
        if heading in ("Args", "Call arguments", "Raises", "Attributes"):
            body = ITEM.sub(lambda item: f"- {names(item.group(1))}:", body)
        elif heading == "Example":
            body = DOCTEST.sub(
                lambda code: f"```pycon\n{code.group().rstrip()}\n```\n", body
            )
        written.append(f"**{heading}**\n\n{body.strip()}")
    return "\n\n".join(written)


def names(item):
    return ", ".join(f"`{name.strip()}`" for name in item.split(","))
