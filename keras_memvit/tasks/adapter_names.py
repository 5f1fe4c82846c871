"""The adapters by name, and what their `adapter_rank` may be."""

from keras_memvit.tasks.counts import as_count

# Name -> the rank where none is given; None where there is none to give.
ADAPTERS = {"ia3": None, "lora": 4, "grouped": 2, "bottleneck": 2}


def parse_adapter(task, adapter, rank):
    """The rank of a task's adapter, checked.

    Args:
        task: str. The task's name, for errors.
        adapter, rank: `adapter` and `adapter_rank` of its spec.

    Raises:
        ValueError: if there is no such adapter, or it takes no such rank.
    """
    if adapter is not None and adapter not in ADAPTERS:
        raise ValueError(
            f"`adapter` of task '{task}' must be None or one of {list(ADAPTERS)}. "
            f"Received: adapter={adapter!r}"
        )
    default = ADAPTERS.get(adapter)
    if default is None:
        if rank is not None:
            raise ValueError(
                f"`adapter_rank` of task '{task}' needs an adapter with a rank, one of "
                f"{[name for name, rank in ADAPTERS.items() if rank]}. "
                f"Received: adapter_rank={rank!r}, adapter={adapter!r}"
            )
        return None
    if rank is None:
        return default
    return as_count(rank, f"`adapter_rank` of task '{task}'")
