"""What a table of tasks that arrive in turn measures, in NumPy.

Classes are numbered as they arrive, so that those seen after a step are the first
ones; `sizes` are the numbers of classes by task.
"""

import numpy as np


def auroc(known, unknown):
    """How often an unknown image scores above a known one; a tie counts half.

    Example:

    >>> float(auroc([0.0, 1.0], [1.0, 2.0]))
    0.875
    """
    known = np.sort(known)
    below = np.searchsorted(known, unknown, "left")
    up_to = np.searchsorted(known, unknown, "right")
    return np.mean(below + up_to) / 2 / len(known)


def forgetting(by_task):
    """Mean over the tasks but the last of what was lost since their best.

    `max_(k < T) a_kj - a_Tj`, `a_kj` the accuracy on task `j` after `k` tasks.

    Args:
        by_task: list by step of lists `a_kj` of the tasks seen.

    Returns:
        A float; 0 where there is one task.

    Reference:
        - [Chaudhry et al., 2018](https://arxiv.org/abs/1801.10112)

    Example:

    >>> forgetting([[1.0], [0.75, 1.0]])
    0.25
    """
    *former, last = by_task
    lost = [
        max(row[j] for row in former if len(row) > j) - last[j]
        for j in range(len(last) - 1)
    ]
    return float(np.mean(lost)) if lost else 0.0


def measure(answers, labels, sizes, own=None):
    """Figures of one method.

    Args:
        answers: list by step of `(logits, scores)` of all test images: `(n, C_k)`
            over the classes seen, and `(n, S)`, how unknown an image is by each of
            `S` scores. Or of the last step alone, as of joint training.
        labels: ints `(n,)`.
        sizes: list of ints.
        own: optional `(n, C)`: the tasks' own logits, that answer where the task is
            known; otherwise those of the last step do.

    Returns:
        A dict: `last`, `average` (of the accuracies after each step, over the classes
        seen), `steps` (these), `by_task`, `task` (accuracy of the task that the answer
        is of), `known` (accuracy where the task is known), `forgetting`, `unknown`
        (AUROC by score: classes that come later against those seen, mean over the
        steps but the last). None where there are no former steps.
    """
    task_of, ends = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes)
    steps, by_task, found = [], [], []
    for end, (logits, scores) in zip(ends[-len(answers) :], answers):
        right, seen = logits.argmax(1) == labels, labels < end
        steps.append(float(right[seen].mean()))
        tasks = range(task_of[end - 1] + 1)
        by_task.append([float(right[task_of[labels] == j].mean()) for j in tasks])
        if end < ends[-1]:
            found.append([auroc(x[seen], x[~seen]) for x in np.transpose(scores)])
    last = answers[-1][0]
    whole = len(answers) == len(sizes)
    same_task = task_of[labels][:, None] == task_of
    known = np.where(same_task, last if own is None else own, -np.inf).argmax(1)
    return {
        "last": steps[-1],
        "average": float(np.mean(steps)) if whole else None,
        "steps": steps,
        "by_task": by_task,
        "task": float(np.mean(task_of[last.argmax(1)] == task_of[labels])),
        "known": float(np.mean(known == labels)),
        "forgetting": forgetting(by_task) if whole else None,
        "unknown": np.mean(found, axis=0).tolist() if found else None,
    }
