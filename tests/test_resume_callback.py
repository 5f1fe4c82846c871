"""`recipes.resume`: the file, what it restores, and what it refuses."""

import keras
import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.recipes import resume


def make_model(optimizer=None, **tasks):
    keras.utils.set_random_seed(0)
    model = keras_memvit.build(make_backbone(num_layers=1), tasks or {"a": 3})
    model.compile(optimizer or keras.optimizers.Adam(0.01))
    return model


class Stop(keras.callbacks.Callback):
    """Ends the process, as it were, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.at == self.epoch:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.at = epoch


@pytest.fixture
def store(images, tmp_path):
    data = (images, np.arange(8) % 3)
    return keras_memvit.precompute(
        make_backbone(num_layers=1), data, tmp_path / "s", verbose=0
    )


OPTIONS = {"epochs": 4, "batch_size": 3, "verbose": 0}


def interrupt(store, path, epoch=2, **tasks):
    model = make_model(**tasks)
    with pytest.raises(KeyboardInterrupt):
        model.fit(store, callbacks=[Stop(epoch), resume(path)], **OPTIONS)


def test_an_interrupted_training_ends_where_another_does(store, tmp_path):
    path = tmp_path / "new" / "run.resume"
    whole = make_model()
    expected = whole.fit(store, **OPTIONS).history["loss"]
    interrupt(store, path)
    assert path.exists()
    model = make_model()
    history = model.fit(store, callbacks=[resume(path)], **OPTIONS)
    assert history.epoch == [2, 3]
    np.testing.assert_allclose(history.history["loss"], expected[2:], rtol=1e-6)
    for weight, value in zip(model.get_weights(), whole.get_weights()):
        np.testing.assert_allclose(weight, value, rtol=1e-6, atol=1e-7)
    assert not path.exists()
    again = model.fit(store, callbacks=[resume(path)], **OPTIONS)
    assert again.epoch == [0, 1, 2, 3]  # the next training is another one


def test_a_kept_file_says_that_there_is_nothing_to_do(store, tmp_path):
    path = tmp_path / "run.resume"
    trained = make_model()
    trained.fit(store, callbacks=[resume(path, keep=True)], **OPTIONS)
    model = make_model()
    history = model.fit(store, callbacks=[resume(path, keep=True)], **OPTIONS)
    assert history.epoch == []
    for weight, value in zip(model.get_weights(), trained.get_weights()):
        np.testing.assert_array_equal(weight, value)


def test_a_training_that_was_stopped_stays_so(store, tmp_path):
    class StopEarly(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    path = tmp_path / "run.resume"
    callbacks = [StopEarly(), resume(path, keep=True)]
    make_model().fit(store, callbacks=callbacks, **OPTIONS)
    history = make_model().fit(store, callbacks=[resume(path)], **OPTIONS)
    assert history.epoch == []


def test_damaged_files_and_other_trainings_are_refused(store, tmp_path):
    path = tmp_path / "run.resume"
    interrupt(store, path)
    content = path.read_bytes()
    other = make_model(optimizer=keras.optimizers.SGD(0.1))
    for model, message in (
        (other, r"another training, which differs in \['optimizer'\]"),
        (make_model(b=3), r"another training, which differs in \['tasks'\]"),
    ):
        with pytest.raises(ValueError, match=f"run.resume is of {message}"):
            model.fit(store, callbacks=[resume(path)], **OPTIONS)
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="run.resume is damaged"):
            make_model().fit(store, callbacks=[resume(path)], **OPTIONS)
    path.write_bytes(content[:-5])
    with pytest.raises(ValueError, match="run.resume is damaged"):
        make_model().fit(store, callbacks=[resume(path)], **OPTIONS)
