"""`keras-memvit serve` as a process, and its page in a browser."""

import concurrent.futures
import contextlib
import pathlib
import re
import signal
import subprocess
import sys

import keras_hub
import pytest
from browser import browser_page
from browser import find_browser
from conftest import randomize
from server_client import SPECS
from server_client import Client
from server_client import ask
from server_client import base64_of
from server_client import png
from server_client import train
from typer.main import get_command

import keras_memvit
from keras_memvit.cli.app import app

pytestmark = pytest.mark.backend_free


@pytest.mark.skipif(find_browser() is None, reason="there is no Chromium")
def test_the_page_shows_every_tasks_answer(images, tmp_path):
    data = base64_of(images[0])
    drop = f"""(async () => {{
        const bytes = Uint8Array.from(atob("{data}"), c => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "one.png", {{ type: "image/png" }}));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {{ dataTransfer: transfer }}));
        while (document.getElementById("answers").hidden)
            await new Promise(go => setTimeout(go, 20));
        return [...document.querySelectorAll("#answers td")].map(c => c.textContent);
    }})()"""
    model = train(tmp_path)
    with (
        contextlib.closing(Client(tmp_path, model.backbone)) as client,
        browser_page(find_browser(), tmp_path / "profile") as page,
    ):
        for width in (1280, 390):
            page.open(f"http://127.0.0.1:{client.port}/", width)
            cells = page.value(drop)
            best = model.predict(images[:1], verbose=0)["birds"][0].argmax()
            row = cells.index("birds")
            assert cells[row + 1] == ["owl", "tit", "wren"][best]
            assert len(cells) == 3 * len(SPECS)
            wide = page.value("document.documentElement.scrollWidth")
            assert wide <= width
        assert not page.problems


def test_a_process_answers_what_it_took_and_ends(images, tmp_path):
    """`keras-memvit serve`, told to stop while a request waits for others."""
    source = randomize(
        keras_hub.models.ViTBackbone(
            image_shape=(32, 32, 3),
            patch_size=16,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            mlp_dim=32,
        )
    )
    source.save_to_preset(str(tmp_path / "preset"))
    model = keras_memvit.build(source, {"birds": 3})
    keras_memvit.save_task(model, "birds", tmp_path / "birds.safetensors")
    words = [tmp_path, "--backbone", tmp_path / "preset", "--port", "0"]
    words += ["--max-delay-ms", "2000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_memvit", "serve", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        line = next(line for line in process.stderr if "http://" in line)
        port = int(line.split()[0].rsplit(":", 1)[1])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            image = png(images[0])
            asked = pool.submit(ask, port, "POST", "/predict", image)
            while (
                "keras_memvit_waiting_images 1.0"
                not in (ask(port, "GET", "/metrics")[1])
            ):
                if asked.done():
                    break
            process.send_signal(signal.SIGTERM)
            status, found, _ = asked.result()
        assert status == 200
        assert set(found) == {"birds"}
        process.stderr.read()
    assert process.returncode in (0, -signal.SIGTERM)


def test_the_deployment_files_name_options_that_there_are():
    folder = pathlib.Path(__file__).resolve().parents[1] / "examples" / "deploy"
    known = {
        name
        for option in get_command(app).commands["serve"].params
        for name in option.opts
    }
    for file in ("Dockerfile", "kserve.yaml"):
        named = set(re.findall(r'"(--[a-z-]+)"', (folder / file).read_text()))
        assert named
        assert named <= known
    probes = re.findall(r"path: (/v2\S+),", (folder / "kserve.yaml").read_text())
    assert probes == ["/v2/health/ready", "/v2/health/live"]
