"""The interface of a readout: how a task takes from the frozen stream."""

import dataclasses
import typing

from keras_memvit.tasks.counts import as_count
from keras_memvit.tasks.readout_names import register_readout


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One of a task's trainable tensors.

    Attributes:
        shape: tuple of ints.
        stddev: float. It starts from a normal distribution of this standard
            deviation; `0` = zeros. Defaults to `0.02`.
        group: str. The group that `learning_rate_multipliers` knows it by.
        parts: int. Over how many of the first axes the tensor is a list of parts that
            `keras_memvit.recipes.prune` may drop one by one, those of a group
            together: zeros in their place must be as without them. Defaults to `0`,
            it stays whole.

    Example:

    >>> keras_memvit.readouts.Parameter((4, 32), stddev=0.0).shape
    (4, 32)
    """

    shape: tuple
    stddev: float = 0.02
    group: str = "readout"
    parts: int = 0

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))


class Task(typing.NamedTuple):
    """A task as a readout sees it: its `TaskSpec`, and its tensors by name.

    Args:
        spec: the `TaskSpec`.
        weights: dict from the names in `Readout.parameters` to tensors.
        embedding: the backbone's classifier as a layer from normed tokens `(B, T, D)`
            to image embeddings `(B, E)`, for a readout that `needs_embedding`.

    Example:

    >>> spec = keras_memvit.TaskSpec("digits", 10)
    >>> weights = {"scale": keras.ops.ones((32,))}
    >>> keras_memvit.readouts.Task(spec, weights).spec.name
    'digits'
    """

    spec: object
    weights: dict
    embedding: typing.Any = None


class Readout:
    """How a task takes from the frozen stream, layer by layer.

    Subclass it as a frozen dataclass whose fields are its arguments, give it a
    `name`, decorate it with `keras_memvit.readouts.register`, and pass it as
    `TaskSpec(readout=...)`: training from images and stores, task files and both
    exports then take it. With `u_l` `(B, T, D)` the base tokens after layer `l`'s
    first norm, every readout is

        s_0 = start(tasks);  s_l = step(s_(l-1), u_l);  z = features(s_L)

    and the head of each task is a linear layer on `[a * class token; z]`, `a` the
    `class_token_scale`. All tasks that
    have equal readouts are computed together: `tasks` below is a list of `Task`, and
    what one of them computes must not depend on another's tensors.

    The state is whatever `start` returns (tensors, or any structure of them). Compute
    with `keras.ops` alone, so that it runs on every backend; a task's tensors are
    float32, the base tokens are of the backbone's precision.

    Example: the mean of the last layer's patches (`docs/readouts.md` has one with
    parameters).

    ```python
    @keras_memvit.readouts.register
    @dataclasses.dataclass(frozen=True)
    class MeanPatch(keras_memvit.readouts.Readout):
        name = "mean_patch"

        def num_features(self, backbone):
            return backbone.hidden_dim

        def step(self, tasks, layer, block, base, state):
            return base.normed

        def features(self, tasks, backbone, state):
            patches = state[:, backbone.num_base_tokens :]
            return [keras.ops.mean(patches, axis=1)] * len(tasks)
    ```
    """

    name: typing.ClassVar[str | None] = None
    num_queries = 0  # learned queries a task attends to each layer's base tokens with
    needs_embedding = False  # whether `Task.embedding` must be there
    parts_are_features = False  # whether part i gives the i-th share of the features
    class_token_scale = 1.0  # what the class token is multiplied by, before the head

    def check(self, backbone):
        """Raises a `ValueError` if this readout cannot work on a `ViTBackbone`."""

    def parameters(self, spec, backbone):
        """One task's tensors: a dict from name to `Parameter`.

        Args:
            spec: the task's `TaskSpec`.
            backbone: the `ViTBackbone`; only its configuration may be used.
        """
        return {}

    def num_features(self, backbone):
        """int. Width of what `features` returns, `F`."""
        raise NotImplementedError(f"{type(self).__name__} must have `num_features`")

    def start(self, tasks, backbone, batch):
        """The state before the first layer.

        Args:
            tasks: list of `Task` that share this readout.
            backbone: the `ViTBackbone`.
            batch: number of images, int or scalar tensor.
        """
        return None

    def step(self, tasks, layer, block, base, state):
        """The state after one layer.

        Args:
            tasks: list of `Task` that share this readout.
            layer: int, from 0.
            block: the layer's `keras_memvit.layers.EncoderBlock`.
            base: the layer's base tokens: `base.normed` is `u_l`, and
                `base.scores(query)`, `base.mean(weights)` attend to them through the
                frozen key and value projections.
            state: what `start` or the layer before returned.
        """
        raise NotImplementedError(f"{type(self).__name__} must have `step`")

    def features(self, tasks, backbone, state):
        """What the heads take beside the class token: a `(B, F)` for each task."""
        raise NotImplementedError(f"{type(self).__name__} must have `features`")

    def fold(self, task, backbone):
        """A task's tensors as they are served: what no image changes, computed once.

        Returns:
            A dict of tensors, which `start` finds as `Task.weights` then.
        """
        return {
            name: task.weights[name] for name in self.parameters(task.spec, backbone)
        }

    def get_config(self):
        """The arguments as a JSON-serialisable dict."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), *self.get_config().items()))


R = typing.TypeVar("R", bound=Readout)


def register(cls: type[R]) -> type[R]:
    """Makes a readout class known by its `name`; a class decorator.

    Args:
        cls: a subclass of `Readout`: a frozen dataclass whose fields are its
            arguments, or a class with a `get_config` of its own. Its class attribute
            `name` is a string that no other readout has.

    Returns:
        The class.

    Raises:
        ValueError: if it is not as above.

    Example:

    ```python
    @keras_memvit.readouts.register
    @dataclasses.dataclass(frozen=True)
    class Wide(keras_memvit.readouts.Deep):
        name = "wide"
        num_query_tokens: int = 8


    keras_memvit.build(backbone, {"digits": 10}, readout="wide")
    ```
    """
    if not (isinstance(cls, type) and issubclass(cls, Readout)):
        raise ValueError(
            "`register` takes a subclass of `keras_memvit.readouts.Readout`. "
            f"Received: {cls!r}"
        )
    parameters = getattr(cls, "__dataclass_params__", None)
    told = cls.get_config is not Readout.get_config or cls.__init__ is object.__init__
    if not (parameters.frozen if parameters else told):
        raise ValueError(
            f"The readout {cls.__qualname__} must be a dataclass(frozen=True) whose "
            "fields are its arguments, or have a `get_config` that returns them: two "
            "readouts are computed together where these are equal"
        )
    return register_readout(cls)


def require_count(readout, argument):
    """Makes an argument an int of at least 1; a `ValueError` names it otherwise."""
    what = f"`{argument}` of the readout '{readout.name}'"
    count = as_count(getattr(readout, argument), what)
    object.__setattr__(readout, argument, count)
