"""The report of a learned task: its numbers, its text, and how a browser shows it."""

import base64
import dataclasses
import html.parser
import io
import os
import pathlib

import numpy as np
import pytest
from browser import browser_page
from browser import find_browser
from conftest import make_backbone
from PIL import Image

from keras_memvit import data
from keras_memvit import report
from keras_memvit.recipes import Candidate
from keras_memvit.recipes import learn
from keras_memvit.report import charts
from keras_memvit.report import measures
from keras_memvit.report.found import shortener
from keras_memvit.report.pictures import attention_maps
from keras_memvit.report.pictures import data_uri
from keras_memvit.report.pictures import drawn_over

pytestmark = pytest.mark.backend_free

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "a & {{ b }}"]
SPACE = "\N{NO-BREAK SPACE}"
WIDTHS = (1280, 390)


class Elements(html.parser.HTMLParser):
    """All tags of a page, and all attributes."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes


def pictures(num=60, seed=0):
    """Three classes of coloured noise, some of them hard, uint8 `(num, 32, 48, 3)`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    images = rng.integers(0, 120, (num, 32, 48, 3))
    strength = np.where(rng.random(num) < 0.3, 3, 100)[:, None, None]
    images[np.arange(num), :, :, labels] += strength
    return images.astype("uint8"), labels


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """What `learn` found and wrote of small pictures."""
    folder = tmp_path_factory.mktemp("learned")
    return learn(
        pictures(),
        make_backbone(num_layers=2),
        name="colour",
        output=folder,
        candidates=[Candidate("class_token", 1, 1e-2)],
        epochs=3,
        cache=folder / "cache",
        report=True,
        verbose=0,
    )


@pytest.fixture(scope="module")
def hostile(learned, tmp_path_factory):
    """The path of a report whose names of classes and files are hostile."""
    names = [
        f"/home/ann/<u>{i}<u onclick=alert(4)>\n'\".png"
        for i in range(len(learned.evidence.names))
    ]
    found = data.check(
        {part: pictures(20) for part in ("train", "<i>test</i>")}, min_images=50
    )
    result = dataclasses.replace(
        learned,
        class_names=HOSTILE,
        evidence=dataclasses.replace(learned.evidence, names=names),
        skipped=[("</details><script>", "<script>alert(3)</script>")],
        check=found,
    )
    folder = tmp_path_factory.mktemp("hostile")
    return report.write(result, folder / "report.html")


def test_learn_writes_it_beside_the_task(learned):
    page = learned.path.with_name("report.html").read_text("utf-8")
    assert f"{100 * learned.val_accuracy:.1f}{SPACE}%" in page
    assert "keras-memvit predict colour.safetensors" in page
    for row in learned.table:
        assert f"{100 * row['val_accuracy']:.1f}{SPACE}%" in page
    assert learned.check.num_images == 60
    assert learned.check.wrong_labels is not None
    right = learned.evidence.logits.argmax(-1) == learned.evidence.labels
    assert page.count('class="answer wrong"') == min(12, np.sum(~right)) > 0
    assert page.count('class="answer right"') == min(12, np.sum(right)) > 0


def test_names_are_text_whatever_they_hold(hostile):
    page = hostile.read_text("utf-8")
    found = Elements()
    found.feed(page)
    assert not {"script", "u", "iframe", "object", "form"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "<i>test" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; {{ b }}" in page
    assert "/home/ann" not in page  # where the pictures are is nobody's business


def test_it_asks_for_nothing_from_outside(hostile):
    page = hostile.read_text("utf-8")
    found = Elements()
    found.feed(page)
    addresses = [a for name, a in found.attributes if name in ("src", "href")]
    assert addresses and all(a.startswith(("data:", "#")) for a in addresses)
    names = {name for name, _ in found.attributes}
    assert not names & {"srcset", "action", "data", "poster", "xlink:href"}
    assert "url(" not in page and "@import" not in page


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """An open page; a test without a browser says so."""
    browser = find_browser()
    if browser is None and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail("REQUIRE_BROWSER is set, and no chromium or chrome is on the PATH")
    if browser is None:
        pytest.skip("no chromium or chrome on the PATH to look at the report with")
    with browser_page(browser, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["learned", "hostile"])
def test_a_browser_shows_it(which, width, chromium, request, tmp_path):
    found = request.getfixturevalue(which)
    path = found if which == "hostile" else found.path.with_name("report.html")
    chromium.problems.clear()
    chromium.requests.clear()
    chromium.open(path.as_uri(), width)
    images = chromium.value(
        "[...document.images].map(i => i.complete && i.naturalWidth)"
    )
    assert len(images) >= 24 and all(size > 0 for size in images)
    assert chromium.value("document.documentElement.clientWidth") >= width - 20
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert chromium.value(wide) == 0
    assert chromium.value("document.querySelectorAll('section svg').length") >= 5
    assert chromium.value("document.scripts.length") == 0
    assert chromium.problems == []
    outside = [
        a for a in chromium.requests if not a.startswith(("data:", path.as_uri()))
    ]
    assert outside == []
    shot = Image.open(io.BytesIO(base64.b64decode(chromium.screenshot())))
    colours = np.asarray(shot.convert("RGB")).reshape(-1, 3)
    assert shot.height > 2000 and len(np.unique(colours[::97], axis=0)) > 100


def test_the_browser_test_sees_what_is_wrong(chromium, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<meta name=viewport content='width=device-width'><img src=missing.png>"
        "<div style='width:900px'>wide</div><script>console.error('no')</script>"
    )
    chromium.problems.clear()
    chromium.open(page.as_uri(), 390)
    assert len(chromium.problems) >= 2  # the console's, and the missing picture
    assert chromium.value("[...document.images].map(i => i.naturalWidth)") == [0]
    assert chromium.value("document.documentElement.scrollWidth") > 390
    chromium.problems.clear()


def test_what_cannot_be_reported_is_refused(learned, tmp_path):
    without = dataclasses.replace(learned, evidence=None)
    with pytest.raises(ValueError, match="`evidence`"):
        report.write(without, tmp_path / "report.html")
    with pytest.raises(ValueError, match="needs a folder `output`"):
        learn(pictures(), None, report=True)
    assert list(tmp_path.iterdir()) == []


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = rng.binomial(60, 0.9, 4000)
    low, high = measures.wilson(hits, 60)
    assert 0.93 < np.mean((low <= 0.9) & (high >= 0.9)) < 0.97
    assert measures.wilson(10, 10)[1] == pytest.approx(1.0)


def test_the_paired_gain_is_that_of_the_discordant_images():
    ours = np.array([1, 1, 1, 0, 1, 1, 0, 1], bool)
    theirs = np.array([1, 0, 0, 1, 1, 1, 0, 0], bool)
    gain, low, high = measures.paired_gain(ours, theirs)
    more, less, n = 3, 1, 8
    error = np.sqrt(more + less - (more - less) ** 2 / n) / n
    assert gain == pytest.approx(2 / 8)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=1e-3)


def test_classes_by_hand():
    labels, answers = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    rows = measures.by_class(labels, answers, ["a", "b", "c"])
    assert rows[0]["precision"] == pytest.approx(2 / 3) == rows[0]["recall"]
    assert rows[1]["images"] == 2 and rows[1]["recall"] == 0.5
    assert rows[2]["recall"] is None and rows[2]["precision"] is None
    matrix = measures.confusion(labels, answers, 3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    pairs = measures.confused_pairs(matrix, "abc")
    assert pairs == [("a", "b", 1, 3), ("b", "a", 1, 2)]


def test_calibrated_answers_have_no_error_and_sure_ones_have():
    rng = np.random.default_rng(0)
    chances = measures.softmax(rng.normal(0, 2, (20000, 4)))
    draw = rng.random((20000, 1))
    labels = (chances.cumsum(-1) < draw).sum(-1)
    bins, error = measures.reliability(chances, labels)
    assert error < 0.015 and sum(bin["count"] for bin in bins) == 20000
    sharper = chances**3 / (chances**3).sum(-1, keepdims=True)
    assert measures.reliability(sharper, labels)[1] > 0.1


def test_charts_hold_whatever_training_gave():
    lines = [([0.5, float("nan"), float("inf"), 0.25], 0, True), ([], 1, False)]
    drawn = charts.curves(lines, "loss")
    assert "nan" not in drawn and "inf" not in drawn
    for count in (2, 30, 300):
        matrix = np.eye(count, dtype=int)
        names = [f"<{i}>" + 40 * "x" for i in range(count)]
        drawn = charts.confusion_chart(matrix, names)
        assert drawn.count("<rect") == count + 1 and "<0>" not in drawn


def test_attention_is_drawn_where_it_is(learned):
    images = [pictures(3)[0][i] for i in range(3)]
    maps = attention_maps(learned.model, "colour", images)
    assert [one.shape for one in maps] == [(2, 3)] * 3
    assert all(one.min() == 0 and one.max() <= 1 for one in maps)
    attention = np.zeros((2, 3))
    attention[0, 2] = 1.0  # above on the right
    drawn = drawn_over(np.full((32, 48, 3), 128, "uint8"), attention).astype(int)
    assert drawn[:40, -40:].mean() > drawn[-40:, :40].mean() + 40


def test_a_picture_in_the_page_is_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), "uint8")
    kind, words = data_uri(image).split(",")
    assert kind == "data:image/png;base64"
    kept = np.asarray(Image.open(io.BytesIO(base64.b64decode(words))))
    np.testing.assert_array_equal(kept, image)
    large = np.repeat(np.repeat(image, 40, 0), 40, 1)
    words = data_uri(large).split(",")[1]
    assert Image.open(io.BytesIO(base64.b64decode(words))).size == (224, 149)


def test_names_are_relative_to_what_all_share():
    short = shortener(["/a/b/x/1.png", "/a/b/x/2.png"])
    assert short("/a/b/x/1.png") == "x/1.png"
    assert shortener(["image 3", "image 4"])("image 4") == "image 4"
    assert shortener(["/1.png", "/b/2.png"])("/b/2.png") == "/b/2.png"


def test_what_the_package_carries_is_there():
    room = pathlib.Path(report.__file__).parent
    assert {"page.css", "page.html.j2"} <= {file.name for file in room.iterdir()}
