"""What one training or test step computes, for the thread that runs it."""

import contextlib
import contextvars
import dataclasses

_PLAN = contextvars.ContextVar("keras_memvit_step_plan", default=None)
_LABELLED = contextvars.ContextVar("keras_memvit_labelled", default=(None, None))


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """What the step of one model computes.

    Attributes:
        owner: the encoder that the plan is for; others go on as ever.
        tasks: names of the tasks that have labels.
        train_seen: bool. Whether a task that sees another trains it too.
    """

    owner: object
    tasks: frozenset
    train_seen: bool = False


@contextlib.contextmanager
def planned(owner, tasks, train_seen=False):
    """Lets an encoder compute these tasks alone, in this thread, meanwhile.

    What the named tasks see is computed too; the logits of all others are zeros.

    Args:
        owner: the encoder.
        tasks: names of tasks.
        train_seen: bool. Whether a task that sees another trains it too.
    """
    token = _PLAN.set(StepPlan(owner, frozenset(tasks), train_seen))
    try:
        yield
    finally:
        _PLAN.reset(token)


def plan_of(owner):
    """The plan that is in force for an encoder, or None."""
    plan = _PLAN.get()
    return plan if plan is not None and plan.owner is owner else None


@contextlib.contextmanager
def labelled_step(optimizer, labelled):
    """Tells an optimiser which tasks have labels in a training step, meanwhile.

    Args:
        optimizer: a `TaskOptimizer`.
        labelled: dict from task name to a boolean scalar.
    """
    token = _LABELLED.set((optimizer, labelled))
    try:
        yield
    finally:
        _LABELLED.reset(token)


def labelled_tasks(optimizer):
    """What `labelled_step` tells; empty where a step is not the model's own."""
    owner, labelled = _LABELLED.get()
    return labelled if owner is optimizer and labelled else {}
