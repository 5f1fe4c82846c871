"""In which rounds `learn` tries its candidates."""

import time

import pytest
from conftest import make_backbone

from keras_memvit.recipes import Candidate
from keras_memvit.recipes.candidates import AUTO
from keras_memvit.recipes.candidates import MEMORY
from keras_memvit.recipes.candidates import RIDGE
from keras_memvit.recipes.candidates import parse_candidates
from keras_memvit.recipes.choice import batch_size_of
from keras_memvit.recipes.choice import epochs_of
from keras_memvit.recipes.choice import try_all
from keras_memvit.recipes.progress import Progress
from keras_memvit.recipes.trials import step_cost

pytestmark = pytest.mark.backend_free


class Ranked:
    """Trials that train nothing: a rate's rank is its place among those given."""

    def __init__(self, worst_first):
        self.worst_first, self.done, self.runs = worst_first, [], []

    def cost(self, num_candidates, epochs):
        return step_cost(num_candidates) * epochs

    def run(self, candidates, epochs):
        self.runs.append((list(candidates), epochs))
        self.done += [c for c in candidates if c not in self.done]

    def ordered(self):
        return sorted(self.done, key=self.worst_first.index, reverse=True)


def test_the_better_rates_of_each_readout_are_trained_to_the_end():
    side = [Candidate("side", 1, rate) for rate in (1e-3, 3e-3)]
    lora = [Candidate("side", 1, rate, adapter="lora") for rate in (1e-3, 3e-3)]
    trials = Ranked([*side, *lora])  # both rates with LoRA before those without
    try_all(trials, [RIDGE, *side, *lora], 20, float("inf"), Progress(0))
    assert trials.runs == [([*side, *lora], 5), ([lora[1], side[1]], 20)]


def test_where_seconds_are_bounded_candidates_are_trained_one_after_the_other():
    trained = [c for c in AUTO if c.learning_rate is not None]
    trials = Ranked(trained)
    try_all(trials, AUTO, 8, time.monotonic() + 60, Progress(0))
    assert trials.runs == [([candidate], 8) for candidate in trained]
    trials = Ranked(trained)
    try_all(trials, AUTO, 8, float("inf"), Progress(0))
    assert trials.runs == [(trained, 8)]


def test_what_would_take_longer_halved_is_not():
    several = [Candidate("side", 1, rate) for rate in (1e-3, 3e-3)]
    candidates = [*several, Candidate("class_token"), Candidate("deep")]
    trials = Ranked(candidates)
    try_all(trials, [RIDGE, *candidates], 12, float("inf"), Progress(0))
    assert trials.runs == [(candidates, 12)]
    trials = Ranked(AUTO[1:])  # here it would save a twelfth
    try_all(trials, AUTO, 30, float("inf"), Progress(0))
    assert trials.runs == [(list(AUTO[1:]), 30)]


def test_one_rate_a_readout_is_trained_once():
    candidates = [Candidate("side", 1), Candidate("class_token", 1)]
    trials = Ranked(candidates)
    try_all(trials, [RIDGE, *candidates], 20, float("inf"), Progress(0))
    assert trials.runs == [(candidates, 20)]


def test_epochs_follow_the_number_of_images():
    numbers = (30, 640, 1000, 2000, 10**6)
    assert [epochs_of(n) for n in numbers] == [30, 30, 19, 10, 8]
    assert [batch_size_of(n) for n in numbers] == [32, 64, 64, 64, 64]


def test_memory_is_tried_where_the_file_must_be_small():
    backbone = make_backbone()
    assert MEMORY not in parse_candidates("auto", backbone, 10, {})
    assert MEMORY in parse_candidates("auto", backbone, 10, {"bytes": 10**6})
