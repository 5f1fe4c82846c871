"""The paper's readout: a class token that attends to base tokens and memory."""

import dataclasses

from keras import ops

from keras_memvit.readouts.adapters.task_adapters import TaskAdapters
from keras_memvit.readouts.adapters.task_adapters import adapter_parameters
from keras_memvit.readouts.adapters.task_adapters import adapter_weights
from keras_memvit.readouts.read_gates import ReadGates
from keras_memvit.readouts.readout import Parameter
from keras_memvit.readouts.readout import Readout
from keras_memvit.readouts.readout import register
from keras_memvit.tasks.layout import layouts_of


@dataclasses.dataclass(frozen=True)
class _State:
    tokens: object  # (B, K, D)
    memory: object  # a list of (M, D), or folded: keys and values, (L, M, H, d) each
    layouts: tuple  # one a layer
    adapters: TaskAdapters
    gates: ReadGates


@register
@dataclasses.dataclass(frozen=True)
class ClassToken(Readout):
    """Class token and memory, as every task has them; other readouts add to it.

    In layer `l` the class token `c_k` of task `k` attends to the base tokens, to
    itself, to its memory and to the class tokens and memory of the tasks it sees,
    and goes through the frozen block as any token; the head takes the last norm of
    it. Class tokens start at the class position, all tasks' are one attention.

    `(1 + L m) D` numbers a task: `class_token` `(D,)` and `memory` `(L, m, D)`; and
    its adapter's, `adapter/...` `(L, ...)`, and its norms', `feature_norm/...`, which
    act on what the class token computes, these also on its memory.

    Example:

    >>> task = keras_memvit.TaskSpec("digits", 10)
    >>> task.readout == keras_memvit.readouts.ClassToken()
    True

    Reference:
        - [Sandler et al., 2022](https://arxiv.org/abs/2203.15243), figures 1 to 3
    """

    name = "class_token"
    num_queries = 1

    def parameters(self, spec, backbone):
        width, layers = backbone.hidden_dim, backbone.num_layers
        shape = (layers, spec.num_memory_tokens, width)
        return {
            "class_token": Parameter((width,), group="class_token"),
            "memory": Parameter(shape, group="memory"),
            **adapter_parameters(spec, backbone),
        }

    def num_features(self, backbone):
        return backbone.hidden_dim

    def start(self, tasks, backbone, batch, train_seen=False, layout=None):
        specs, layers = tuple(task.spec for task in tasks), backbone.num_layers
        layouts = (layout,) * layers
        if layout is None:
            layouts = layouts_of(specs, layers, train_seen)
        dtype = backbone.tokens_dtype
        tokens = ops.stack([task.weights["class_token"] for task in tasks])  # (K, D)
        tokens = ops.cast(tokens, dtype)
        if "memory" in tasks[0].weights:
            tokens = first_tokens(tokens, backbone)
            memory = ops.cast(_joined(tasks, "memory"), dtype)
            memory = list(ops.unstack(memory, axis=0))
        else:
            memory = (_joined(tasks, "memory_key"), _joined(tasks, "memory_value"))
        tokens = ops.repeat(ops.cast(tokens, dtype)[None], batch, axis=0)
        adapters, gates = TaskAdapters(tasks, dtype), ReadGates(tasks)
        return _State(tokens, memory, layouts, adapters, gates)

    def step(self, tasks, layer, block, base, state):
        normed, memory = self.inputs(layer, block, state)
        adapters, layout = state.adapters.at(layer), state.layouts[layer]
        gates = state.gates.at(layer, layout)
        attended = block.attention.attend_tasks(
            normed, base, memory, layout, adapters, gates
        )
        tokens = block.advance(state.tokens, attended, adapters)
        return dataclasses.replace(state, tokens=tokens)

    def inputs(self, layer, block, state):
        """What a layer's tasks attend with: class tokens; memory's keys and values."""
        adapters = state.adapters.at(layer)
        if isinstance(state.memory, tuple):
            memory = tuple(part[layer] for part in state.memory)
        else:
            memory = self._project(
                state.memory[layer], block, state.layouts[layer], adapters
            )
        return block.norm_tokens(state.tokens, adapters), memory

    def features(self, tasks, backbone, state):
        features = backbone.norm(state.tokens)
        return [features[:, k] for k in range(len(tasks))]

    def fold(self, task, backbone):
        """Memory as keys and values, the class token as the first block takes it."""
        alone = dataclasses.replace(task.spec, sees=(), sees_budget=None, reads=None)
        layout = layouts_of((alone,), 1)[0]
        memory = ops.cast(task.weights["memory"], backbone.tokens_dtype)
        adapters = TaskAdapters([task], memory.dtype)
        pairs = [
            self._project(memory[i], block, layout, adapters.at(i))
            for i, block in enumerate(backbone.blocks)
        ]
        token = first_tokens(task.weights["class_token"][None], backbone)[0]
        return {
            "class_token": token,
            "memory_key": ops.stack([key for key, _ in pairs]),
            "memory_value": ops.stack([value for _, value in pairs]),
            **adapter_weights(task),
        }

    def _project(self, memory, block, layout, adapters):
        if adapters is not None:
            adapters = adapters.of_memory(layout.owners)
        normed = block.norm_memory(memory, layout.memory_norm, adapters)
        return block.attention.project(normed)


def first_tokens(tokens, backbone):
    """Class tokens with their position, as the first block takes them: (K, D)."""
    tokens = backbone.patch_embedding.add_class_position(tokens)
    return tokens if backbone.pre_norm is None else backbone.pre_norm(tokens)


def _joined(tasks, name):
    """All tasks' memory along its second axis, (L, M, ...)."""
    parts = [task.weights[name] for task in tasks]
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
