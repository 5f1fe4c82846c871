"""What `ray_app.build_app` takes: no Ray."""

import pytest

pytest.importorskip("pydantic")

from keras_memvit.serving.ray_app import LEAST
from keras_memvit.serving.ray_app import _read
from keras_memvit.serving.server import run
from keras_memvit.serving.server.run import Settings

pytestmark = pytest.mark.backend_free
GIVEN = {"directory": "tasks", "backbone": "dinov2_small"}


def test_text_becomes_what_a_server_takes():
    options, settings = _read(GIVEN | {"max_delay_ms": "2", "max_batch": "8"})
    assert settings == Settings(max_batch=8, max_delay=0.002, watch=True)
    assert (options.backbone, options.image_size) == ("dinov2_small", None)
    assert _read(GIVEN)[1] == Settings(watch=True)
    assert set(LEAST) <= set(vars(options)) and set(run.LEAST) <= set(vars(settings))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"max_delay_ms": "x"}, "max_delay_ms: Input.*Received: {'max_delay_ms': 'x'}"),
        ({"max_delay": 1}, r"Received: \['max_delay'\]"),
        ({"watch": False}, r"Received: \['watch'\]"),
        ({"max_batch": 0}, "`max_batch` must be at least 1. Received: 0"),
        ({"max_delay_ms": -1}, "`max_delay_ms` must be at least 0"),
        ({"timeout": -1}, "`timeout` must be at least 0.1"),
        ({"timeout": "nan"}, "`timeout` must be at least 0.1"),
        ({"capacity": "0"}, "`capacity` must be at least 1"),
        ({"max_pixels": -1}, "`max_pixels` must be at least 1"),
        ({"image_size": 0}, "`image_size` must be at least 1"),
        ({"num_replicas": 0}, "`num_replicas` must be at least 1"),
        ({"token": ""}, "`token` must not be empty"),
        ({"num_gpus": -1}, "`num_gpus` must be at least 0"),
        ({"min_replicas": 3, "max_replicas": 2}, "`min_replicas` must be at most"),
        ({"min_replicas": 3}, "`min_replicas` must be at most `max_replicas`"),
        ({"num_replicas": 2, "max_replicas": 4}, "`num_replicas` stands alone"),
        ({"num_replicas": "2", "min_replicas": 1}, "`num_replicas` stands alone"),
    ],
)
def test_what_a_server_does_not_take_is_named(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        _read(GIVEN | {"token": "secret"} | arguments)
    assert "secret" not in str(error.value)


def test_a_preset_folder_is_the_same_in_every_replica(tmp_path, monkeypatch):
    (tmp_path / "preset").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("preset", "./preset", "~/preset"):
        options, _ = _read(GIVEN | {"backbone": name})
        assert options.backbone == str(tmp_path / "preset")
    for name in ("dinov2_small", "hf://user/preset"):
        assert _read(GIVEN | {"backbone": name})[0].backbone == name
