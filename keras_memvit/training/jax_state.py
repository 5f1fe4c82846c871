"""Keras' trainer on JAX, for models that share a frozen backbone.

A compiled step on JAX is a function of values. While Keras' own loops run, the
values are theirs: they are taken out of all of a model's variables and given
away ("donated") to each step. A model that shares its backbone cannot lend it
out like that: a sibling could not predict meanwhile, and after an error the
backbone would be lost to all.

So here every step takes the values from the variables and puts new ones back, as
on the other backends, and nothing is donated. Variables have their values at all
times: in callbacks, in other threads, after an error. The frozen ones are
arguments of the compiled step all the same, not constants in it, so that weights
loaded into the backbone are seen, and they are no results of it.

What it costs: the tasks' own values, optimiser state included, exist twice during a
step, where donation saved one of them: 0.6 MB for a task with Adam on ViT-S/14, whose
backbone has 86 MB and exists once. CPU time of a training step there (98 px, batch of
8): 212 ms, as in Keras' own loop (211); reading and writing the variables takes
0.01 ms of it with one task, 2 ms with 200.
"""

import contextlib
import contextvars
import threading

import keras

TRAINED = ("trainable", "non_trainable", "optimizer", "metrics")  # Keras' order
TESTED = ("trainable", "non_trainable", "metrics")
PREDICTED = ("trainable", "non_trainable")

# By a model's id, its variables in the run that this thread is in. Looking them
# up walks through all layers, which is too slow to do at every step.
_runs = contextvars.ContextVar("runs", default={})  # noqa: B039 (never changed)


class StepsOnVariables:
    """Makes each step read a model's variables and write them back.

    A mixin in front of `keras.Model` on JAX; the model has `backbone` and
    `classifier`, whose variables are only read.
    """

    # What Keras' loops ask before each step: there is never anything to sync.
    _jax_state_synced = property(lambda self: True, lambda self, value: None)

    def jax_state_sync(self):
        """Nothing to do: the variables have their values."""

    def _get_jax_state(self, purge_model_variables=False, **kinds):
        return tuple([] for wanted in kinds.values() if wanted)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._step_function(
                self.train_step, reads=TRAINED, writes=TRAINED
            )

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            # Weights are not written: those of a `fit` in another thread are newer.
            self.test_function = self._step_function(
                self.test_step, reads=TESTED, writes=("metrics",)
            )

    def make_predict_function(self, force=False):
        if self.predict_function is None or force:

            def predict_step(state, data):
                return self.predict_step(state, data)[0], ()

            self.predict_function = self._step_function(
                predict_step, reads=PREDICTED, writes=(), concatenate_outputs=True
            )

    def _step_function(self, step, reads, writes, **kwargs):
        """`step`, a function of values, as a function on the variables."""

        def on_values(values, frozen, data):
            variables = _variables(self)
            whole = variables.merge(values["non_trainable"], frozen)
            values = {**values, "non_trainable": whole}
            outputs, state = step(tuple(values[kind] for kind in reads), data)
            values = dict(zip(reads, state))
            if "non_trainable" in writes:
                values["non_trainable"] = variables.own(values["non_trainable"])
            return outputs, {kind: values[kind] for kind in writes}

        if not self.run_eagerly and self.jit_compile:
            import jax

            on_values = jax.jit(on_values, out_shardings=self._out_shardings(writes))

        lock = vars(self).setdefault("_step_lock", threading.Lock())

        def on_variables(state, data):
            variables = _variables(self)
            with lock:  # all values from one step, where another thread trains
                values = {kind: variables.values(kind) for kind in reads}
            outputs, values = on_values(values, variables.values("frozen"), data)
            with lock:
                for kind, new in values.items():
                    variables.assign(kind, new)
            return outputs, state

        return self._make_function(on_variables, **kwargs)

    def _out_shardings(self, writes):
        """Where new values are to be, under `keras.distribution`."""
        if keras.distribution.distribution() is None:
            return None
        shardings = dict(zip(TRAINED, self._get_state_sharding_spec()))
        own = _Variables(self).own(shardings["non_trainable"])
        shardings["non_trainable"] = own
        return None, {kind: shardings[kind] for kind in writes}


class _Variables:
    """A model's variables by what a step does with them."""

    def __init__(self, model):
        shared = {
            id(variable)
            for part in (model.backbone, getattr(model, "classifier", None))
            if part is not None
            for variable in part.variables
        }
        non_trainable = model.non_trainable_variables
        self._is_frozen = [id(variable) in shared for variable in non_trainable]
        optimizer = getattr(model, "optimizer", None)
        self._by_kind = {
            "trainable": model.trainable_variables,
            "non_trainable": self.own(non_trainable),  # of tasks that are not trained
            "optimizer": optimizer.variables if optimizer is not None else [],
            "metrics": model.metrics_variables,
            "frozen": [v for v in non_trainable if id(v) in shared],
        }

    # Past `value` and `assign`, whose checks took 37 ms a step with 200 tasks and Adam
    # (10,000 variables), not 2 ms: types and shapes are those of the last step.
    def values(self, kind):
        return [variable._value for variable in self._by_kind[kind]]

    def assign(self, kind, values):
        for variable, value in zip(self._by_kind[kind], values):
            variable._direct_assign(value)

    def own(self, non_trainable):
        """Of a list over all non-trainable variables, the part of the model's own."""
        return [x for x, frozen in zip(non_trainable, self._is_frozen) if not frozen]

    def merge(self, own, frozen):
        """The list over all non-trainable variables again."""
        own, frozen = iter(own), iter(frozen)
        return [next(frozen if shared else own) for shared in self._is_frozen]


def _variables(model):
    """The model's variables in this run, or as they are now outside of one."""
    runs = _runs.get()
    if id(model) not in runs:
        return _Variables(model)
    if runs[id(model)] is None:  # first here, since `fit` builds the optimiser
        runs[id(model)] = _Variables(model)
    return runs[id(model)]


@contextlib.contextmanager
def run_of(model):
    """A run of `fit`, `evaluate` or `predict`, within which variables stay the same.

    That is, which there are and which of them are trained. Runs can be nested, as
    `predict` in a callback of `fit`.
    """
    token = _runs.set({**_runs.get(), id(model): None})
    try:
        yield
    finally:
        _runs.reset(token)


# Other backends' loops work on the variables by themselves.
TrainerOfBackend = StepsOnVariables if keras.backend.backend() == "jax" else object
