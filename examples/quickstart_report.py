"""The quickstart's report: a table of accuracies and a picture of predictions."""

import dataclasses

import numpy as np
import quickstart_data


@dataclasses.dataclass
class Result:
    """What one task's two trainings gave: predicted labels and parameter counts."""

    data: quickstart_data.TaskData
    head_predictions: np.ndarray
    head_parameters: int
    memory_predictions: np.ndarray
    memory_parameters: int

    def accuracy(self, predictions):
        """The share of test images that `predictions` names correctly."""
        return np.mean(predictions == self.data.test_labels)


def print_results(results, difference):
    """Print both accuracies side by side, and how far the backbone has moved."""
    print(f"\n{'':<16}{'head only':>25}{'memory tokens':>27}")
    print(f"{'task':<16}" + f"{'accuracy':>13}{'parameters':>13}" * 2)
    for result in results:
        print(
            f"{result.data.name:<16}"
            f"{result.accuracy(result.head_predictions):>13.1%}"
            f"{result.head_parameters:>13,}"
            f"{result.accuracy(result.memory_predictions):>13.1%}"
            f"{result.memory_parameters:>13,}"
        )
    print("\nBackbone output before the first and after the last training:")
    print(f"max abs difference {difference}")


def draw_predictions(results, folder, columns=8):
    """Draw each task's first test images with the predicted class; return the file.

    A wrong prediction is red and followed by the true class.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = len(results)
    figure, axes = pyplot.subplots(
        rows, columns, squeeze=False, figsize=(1.5 * columns, 2 * rows)
    )
    for row, result in zip(axes, results):
        for i, axis in enumerate(row):
            axis.axis("off")
            if i < len(result.memory_predictions):
                _draw_prediction(axis, result, i)
        row[0].text(
            -0.1, 0.5, result.data.name, transform=row[0].transAxes,
            rotation=90, ha="right", va="center", fontsize=12,
        )  # fmt: skip
    figure.tight_layout()
    file = folder / "quickstart.png"
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file


def _draw_prediction(axis, result, i):
    """One test image under the name of its predicted class."""
    predicted, label = result.memory_predictions[i], result.data.test_labels[i]
    names = result.data.class_names
    title, color = names[predicted], "darkgreen"
    if predicted != label:
        title, color = f"{title}, not {names[label]}", "firebrick"
    axis.imshow(result.data.test_images[i])
    axis.set_title(title, color=color, fontsize=11)
