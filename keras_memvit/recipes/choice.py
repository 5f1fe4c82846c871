"""Which candidate `learn` trains on every image, and what chose it."""

import dataclasses
import time

from keras_memvit.recipes.candidates import RIDGE
from keras_memvit.recipes.candidates import Candidate
from keras_memvit.recipes.evidence import Evidence
from keras_memvit.recipes.evidence import evidence_of

SEEN = 19_200  # images in all epochs; two thirds cost 4 points on counting (1,000)
LEAST_EPOCHS, MOST_EPOCHS = 8, 30
FIRST_EPOCHS = 5  # decide between learning rates, not between readouts
WORTH_IT = 0.9  # of the time: a first round that saves less is left out


@dataclasses.dataclass
class Choice:
    """A candidate, and how it did on images that it did not see.

    Attributes:
        candidate: `Candidate`.
        epochs: int, to train it for; None of a head in closed form.
        temperature: float, what to divide its logits by.
        table: list of dicts, the rows of `LearnResult.table` without the bytes, in
            the order of `ordered`.
        ordered: list of `Candidate`, best first.
        evidence: `Evidence`; None where no image was held out.
    """

    candidate: Candidate
    epochs: int | None
    temperature: float
    table: list[dict]
    ordered: list[Candidate]
    evidence: Evidence | None = None


def epochs_of(num_images):
    """How many epochs show about `SEEN` images, between the least and the most."""
    return min(max(round(SEEN / num_images), LEAST_EPOCHS), MOST_EPOCHS)


def batch_size_of(num_images):
    """64, or 32 where epochs would be cut short.

    By 64 it takes two thirds of the time. On `count`, `location` and `orientation`,
    850 images each, that gave 2.9, -3.2 and -1.4 points on held-out images (three
    seeds, each within 2): no more than their number leaves open.
    """
    return 64 if num_images * MOST_EPOCHS >= SEEN else 32


def take(candidate, epochs):
    """The `Choice` of one candidate that nothing was compared with."""
    epochs = None if candidate.learning_rate is None else epochs
    row = _row(candidate, epochs)
    return Choice(candidate, epochs, 1.0, [row], [candidate])


def choose(trials, candidates, epochs, deadline, examples, progress, asked=True):
    """Tries all candidates for as long as asked.

    Where several differ in nothing but rates, and it saves a tenth, all are tried
    for a few epochs, and the best of each sort for as long as asked. A few epochs do
    not rank readouts: the side readout starts late and ends first where place counts.

    Args:
        trials: `Trials` that know the ridge head's answers.
        candidates: list of `Candidate`.
        epochs: int.
        deadline: float on the monotonic clock; no trial begins after it.
        examples: list of `(read, label)`, all images.
        progress: `Progress`.
        asked: whether to try them all even where the ridge head answers all judged
            images right, and is sure of it.

    Returns:
        The best one's `Choice`.
    """
    if trials.is_perfect(RIDGE) and not asked:
        progress.say("the head alone answers all of them right: nothing is left to win")
    else:
        try_all(trials, candidates, epochs, deadline, progress)
    best, *_ = ordered = trials.ordered()
    table = []
    for candidate in ordered:
        score, loss = trials.rank(candidate)
        judged = {f"val_{trials.scoring.metric}": -score, "val_loss": loss}
        table.append(_row(candidate, trials.epochs[candidate]) | judged)
    return Choice(
        best,
        trials.epochs[best],
        trials.temperature(best),
        table,
        ordered,
        evidence_of(trials, best, RIDGE, examples),
    )


def try_all(trials, candidates, epochs, deadline, progress):
    """Enters into `trials` what the candidates answer, until the deadline."""
    left = [c for c in candidates if c.learning_rate is not None]
    apart = deadline < float("inf")

    def cost(some, length):
        return sum(trials.cost(len(group), length) for group in _groups(some, apart))

    few, one_each = min(FIRST_EPOCHS, epochs), list({c.parts: c for c in left}.values())
    halved = cost(left, few) + cost(one_each, epochs)
    in_two = few < epochs and halved < WORTH_IT * cost(left, epochs)
    for length in (few, epochs) if in_two else (epochs,):
        groups = _groups(left, apart)
        later = trials.cost(1, epochs)
        later += cost(one_each, epochs) if length < epochs else 0
        for i, group in enumerate(groups):
            if time.monotonic() < deadline:
                progress.say(f"{', '.join(c.words for c in group)}: {length} epochs")
                here = sum(trials.cost(len(g), length) for g in groups[i:])
                progress.plan(here + later)
                trials.run(group, length)
        best = {}
        for candidate in trials.ordered():
            if candidate in left:
                best.setdefault(candidate.parts, candidate)
        left = list(best.values())


def _row(candidate, epochs):
    return {
        "candidate": candidate.words,
        "learning_rate": candidate.learning_rate,
        "epochs": epochs,
    }


def _groups(candidates, apart):
    """Candidates that are trained as tasks of one model: those of one weight decay.

    `apart`, so that there is something to stop between: each by itself.
    """
    if apart:
        return [[candidate] for candidate in candidates]
    groups = {}
    for candidate in candidates:
        groups.setdefault(candidate.weight_decay, []).append(candidate)
    return list(groups.values())
