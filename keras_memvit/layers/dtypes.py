"""Precision policies."""

import keras


def float32_variables(dtype=None):
    """The policy for `dtype` whose variables are float32.

    Args:
        dtype: a dtype name or policy; None is Keras' global policy.

    Returns:
        A `keras.dtype_policies.DTypePolicy`: `"bfloat16"` becomes
        `"mixed_bfloat16"`, so that what is trained is never rounded.
    """
    policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    if policy.name in ("bfloat16", "float16"):
        policy = keras.dtype_policies.get(f"mixed_{policy.name}")
    return policy
