"""Starter configurations for TensorFlow Serving, beside the model's versions."""

import pathlib

from keras_memvit.files.atomic import write_whole

MODELS = """\
# tensorflow_model_server --model_config_file=/models/{name}/models.config
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

# The last allowed size equals the largest batch.
BATCHING = """\
# --enable_batching --batching_parameters_file=/models/{name}/batching.config
max_batch_size {{ value: 64 }}
allowed_batch_sizes: 1
allowed_batch_sizes: 2
allowed_batch_sizes: 4
allowed_batch_sizes: 8
allowed_batch_sizes: 16
allowed_batch_sizes: 32
allowed_batch_sizes: 64
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 4 }}
"""


def write_server_configs(folder, name):
    """Writes `models.config` and `batching.config`, unless they are there."""
    for file, text in (("models.config", MODELS), ("batching.config", BATCHING)):
        path = pathlib.Path(folder) / file
        if not path.exists():
            write_whole(path, text.format(name=name))
