"""A task's model card: README.md of its repository at a hub."""

import json

FIGURES = ("val_accuracy", "num_images", "base_difference", "temperature")


def model_card(path, card, found, handle, has_report):
    """Markdown with the front matter that hubs read.

    Args:
        path: the task file.
        card: dict, its card.
        found: dict that `learn` wrote beside it; may be empty.
        handle: str, where it will be.
        has_report: bool.
    """
    spec = card["task"]
    backbone = found.get("backbone")
    front = {
        "library_name": "keras_memvit",
        "pipeline_tag": "image-classification",
        "tags": ["keras", "keras_memvit", "learnable-memory", "vision-transformer"],
    }
    # JSON is YAML, and its quotes keep what a name holds out of the structure.
    lines = ["---"]
    lines += [f"{key}: {json.dumps(value)}" for key, value in front.items()]
    lines += ["---", "", f"# {spec.name}", ""]
    lines += [
        "A task for a frozen Vision Transformer: it adds an output to the backbone and "
        "leaves every other output as it is.",
        "",
        "| | |",
        "|---|---|",
        f"| classes | {spec.num_classes} |",
        f"| backbone | {_cell(backbone or card['backbone'])} |",
        f"| image shape | {card['image_shape']} |",
        f"| memory tokens a layer | {spec.num_memory_tokens} |",
        f"| file | `{path.name}`, {path.stat().st_size:,} bytes |",
        f"| written by | keras_memvit {_cell(card['version'])} |",
    ]
    lines += [f"| {key} | {found[key]} |" for key in FIGURES if key in found]
    if card["needs"]:
        names = ", ".join(map(_cell, card["needs"]))
        lines += [f"| sees the tasks | {names} (load them first) |"]
    lines += ["", "```python", "import keras_memvit", ""]
    made_with = json.dumps(backbone) if backbone else "backbone"
    lines += [f'model = keras_memvit.load_task({made_with}, "{handle}")', "```"]
    if spec.class_names:
        names = ", ".join(_cell(name) for name in spec.class_names)
        lines += ["", f"Classes, by label: {names}"]
    if has_report:
        lines += ["", "How it was chosen and how good it is: `report.html`."]
    return "\n".join([*lines, ""])


def _cell(text):
    """Text that stays inside a table's cell and one line."""
    line = " ".join(str(text).split())
    for mark in "\\`|<>[]*_":
        line = line.replace(mark, "\\" + mark)
    return line
