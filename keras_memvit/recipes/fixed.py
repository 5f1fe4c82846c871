"""A recipe for every task, where no image can be spared to choose one."""

from keras_memvit.recipes.candidates import FIXED
from keras_memvit.recipes.candidates import Candidate


def fixed() -> Candidate:
    """The one recipe that is used as it is, whatever the task.

    `learn(source, backbone, candidates=fixed())` trains it on every image: none is
    held out, so nothing is compared and the probabilities are not calibrated. The idea
    is T-Few's (arXiv 2205.05638, section 3.4: one recipe for every task, and no
    validation set to choose another); the recipe is ours, `learn`'s first candidate.

    Returns:
        A `Candidate`: the side readout with LoRA of the task's own stream, AdamW at a
        peak rate of 6e-3, 1.8e-3 for the head, with a weight decay of 0.1.

    Example:

    >>> keras_memvit.recipes.fixed().learning_rate
    0.006
    """
    return FIXED
