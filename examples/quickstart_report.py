"""The quickstart's report: a table of accuracies and a picture of all answers."""

import numpy as np


def print_rows(rows):
    """Print accuracies on the test images, the chosen readout and its file's size."""
    print("\nTest accuracy:")
    shown = [
        {k: f"{v:.1%}" if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    ]
    widths = {k: max(len(k), *(len(row[k]) for row in shown)) for k in shown[0]}
    print("  ".join(f"{k:<{width}}" for k, width in widths.items()))
    for row in shown:
        print("  ".join(f"{row[k]:<{width}}" for k, width in widths.items()))


def draw_answers(model, tasks, folder, columns=4):
    """Draw test images of each task with every task's answer; return the file.

    A row's own task is bold: green where it is right, red where not.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(tasks), columns, squeeze=False, figsize=(2.6 * columns, 2.9 * len(tasks))
    )
    images = np.concatenate([data.test_images[:columns] for data in tasks])
    answers = model.predict(images, verbose=0)  # one pass, all tasks
    for i, axis in enumerate(axes.flat):
        own = tasks[i // columns]
        axis.imshow(images[i])
        axis.axis("off")
        for line, data in enumerate(tasks):
            best = answers[data.name][i].argmax()
            judged = "darkgreen" if best == own.test_labels[i % columns] else "crimson"
            axis.text(
                0.5,
                -0.09 * (line + 1),
                f"{data.name}: {data.class_names[best]}",
                transform=axis.transAxes,
                ha="center",
                color=judged if data is own else "dimgray",
                fontsize=10,
                fontweight="bold" if data is own else "normal",
            )
    figure.tight_layout()
    file = folder / "quickstart.png"
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file
