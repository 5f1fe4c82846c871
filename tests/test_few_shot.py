"""`recipes.few_shot` and its methods against plain NumPy."""

import keras
import numpy as np
import pytest
import reference
from conftest import make_backbone

import keras_memvit
from keras_memvit.recipes import few_shot
from keras_memvit.recipes.closed_form import nearest_mean_scores
from keras_memvit.recipes.closed_form import ridge_scores
from keras_memvit.recipes.episodes import draw_episode
from keras_memvit.recipes.few_shot_training import EpisodeTrainer
from keras_memvit.recipes.mutual import FrozenReads
from keras_memvit.recipes.mutual import mutual_scores
from keras_memvit.recipes.ridge import fit_ridge

LABELS = np.repeat(np.arange(3), 6)


def some_images():
    """Three shades."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (18, 32, 48, 3)) + 80 * LABELS[:, None, None, None]
    return images.astype("uint8")


def make_store(backbone, path):
    data = (some_images(), LABELS)
    return keras_memvit.precompute(backbone, data, path, dtype="float32", verbose=0)


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    backbone = make_backbone()
    return backbone, make_store(backbone, tmp_path_factory.mktemp("shades"))


@pytest.fixture(scope="module")
def reads(shades):
    return FrozenReads(*shades)


def an_episode(shots=2, ways=3, number=0):
    return draw_episode(LABELS, shots, ways, 3, 0, number)


def test_episodes_are_disjoint_nested_and_repeatable():
    labels = np.append(LABELS, -1)
    drawn = [draw_episode(labels, 2, 2, 3, 7, i) for i in range(30)]
    again = [draw_episode(labels, 2, 2, 3, 7, i) for i in (29, 4)]
    np.testing.assert_array_equal(again[0].support, drawn[29].support)
    np.testing.assert_array_equal(again[1].query, drawn[4].query)
    assert len({tuple(e.support) for e in drawn}) > 20
    for i, episode in enumerate(drawn):
        rows = np.concatenate([episode.support, episode.query])
        assert len(set(rows)) == len(rows) == 2 * (2 + 3)
        assert (labels[rows] >= 0).all()
        for place in range(2):
            support = labels[episode.support[episode.support_labels == place]]
            query = labels[episode.query[episode.query_labels == place]]
            assert len({*support, *query}) == 1
        fewer = draw_episode(labels, 1, 2, 3, 7, i)
        assert set(fewer.support) < set(episode.support)
        np.testing.assert_array_equal(fewer.query, episode.query)


@pytest.mark.parametrize("variant", ["vit", "registers", "rotary", "clip"])
def test_an_image_that_reads_itself_is_the_encoders_class_token(variant, tmp_path):
    backbone = make_backbone(variant)
    reads = FrozenReads(backbone, make_store(backbone, tmp_path))
    tokens = keras.ops.convert_to_numpy(backbone(some_images()))[:, 0]
    np.testing.assert_allclose(reads.features, tokens, atol=1e-4)
    rows = np.arange(5)
    swapped = reads.swapped(rows, rows)
    np.testing.assert_allclose(swapped[rows, rows], tokens[:5], atol=1e-4)
    assert np.abs(swapped[0, 1] - swapped[1, 1]).max() > 1e-2


def plain_swap(backbone, tokens, others):
    """The last block of `[c_a; P_b]`, whole, by hand: (D,)."""
    block = backbone.blocks[-1]
    x = np.concatenate([tokens[:1], others[1:]]).astype("float64")
    normed = reference._norm(block.norm1, x)
    attention = block.attention
    query, key, value = (
        reference._dense(layer, normed).reshape(len(x), attention.num_heads, -1)
        for layer in (attention.query, attention.key, attention.value)
    )
    scores = np.einsum("hd,thd->ht", query[0], key) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    read = np.einsum("ht,thd->hd", weights, value).reshape(-1)
    y = x[0] + reference._dense(attention.output_projection, read)
    y = y + reference._mlp(block.mlp, reference._norm(block.norm2, y))
    return reference._norm(backbone.norm, y)


def test_mutual_scores_equal_a_plain_computation(shades, reads):
    backbone, _ = shades
    episode = an_episode()
    x = backbone.embed(keras.ops.convert_to_tensor(some_images()))
    x = keras.ops.convert_to_numpy(backbone.blocks[0](x))  # enter the last block
    features = np.stack([plain_swap(backbone, image, image) for image in x])

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    expected = np.zeros((len(episode.query), 3))
    for i, q in enumerate(episode.query):
        for c in range(3):
            own = episode.support[episode.support_labels == c]
            mean = features[own].mean(0)
            u = np.mean([plain_swap(backbone, x[s], x[q]) for s in own], axis=0)
            v = np.mean([plain_swap(backbone, x[q], x[s]) for s in own], axis=0)
            expected[i, c] = (cosine(u, mean) + cosine(v, mean)) / 2
    np.testing.assert_allclose(mutual_scores(reads, episode), expected, atol=1e-5)


def test_order_of_supports_and_of_classes(reads):
    episode = an_episode()
    found = mutual_scores(reads, episode)
    order = np.random.default_rng(0).permutation(len(episode.support))
    fields = vars(episode) | {
        "support": episode.support[order],
        "support_labels": episode.support_labels[order],
    }
    np.testing.assert_allclose(
        mutual_scores(reads, type(episode)(**fields)), found, atol=1e-5
    )
    fields["support_labels"] = (fields["support_labels"] + 1) % 3
    np.testing.assert_allclose(
        mutual_scores(reads, type(episode)(**fields)), np.roll(found, 1, 1), atol=1e-5
    )


def test_nearest_mean_is_sklearns(reads):
    neighbors = pytest.importorskip("sklearn.neighbors")
    episode = an_episode()
    unit = reads.features / np.linalg.norm(reads.features, axis=1, keepdims=True)
    plain = neighbors.NearestCentroid()
    plain.fit(unit[episode.support], episode.support_labels)
    found = nearest_mean_scores(reads.features, episode).argmax(-1)
    np.testing.assert_array_equal(found, plain.predict(unit[episode.query]))


@pytest.mark.parametrize("width", [4, 32])
def test_ridge_in_the_span_is_ridge(reads, width):
    episode = an_episode(shots=3)
    features = reads.features[:, :width]
    kernel, bias = fit_ridge(
        features[episode.support], episode.support_labels, episode.ways
    )
    expected = features[episode.query] @ kernel + bias
    np.testing.assert_allclose(ridge_scores(features, episode), expected, atol=1e-4)


def test_a_trained_episode_does_not_depend_on_those_before(shades):
    episodes = [an_episode(shots=1, number=i) for i in range(2)]
    trainer = EpisodeTrainer(*shades, ["memory", "side"], ways=3, epochs=4, seed=0)
    first, second, again = (trainer.scores(episodes[i]) for i in (0, 1, 0))
    for method in ("memory", "side"):
        np.testing.assert_allclose(again[method], first[method], atol=1e-5)
        assert np.abs(second[method] - first[method]).max() > 1e-3


@pytest.mark.backend_free
def test_table(shades):
    backbone, store = shades
    options = {"shots": (1, 2), "ways": 2, "num_queries": 3, "seed": 3}
    cheap = ("mean", "ridge", "mutual")
    result = few_shot(
        backbone, store, episodes=40, costly_episodes=4, methods=cheap, **options
    )
    rows = {(row["method"], row["shots"]): row for row in result.table}
    assert set(rows) == {(m, s) for m in cheap for s in (1, 2)}
    assert [rows[m, 1]["episodes"] for m in cheap] == [40, 40, 4]
    reads = FrozenReads(backbone, store)
    accuracies = []
    for number in range(40):
        episode = draw_episode(LABELS, 1, 2, 3, 3, number)
        found = nearest_mean_scores(reads.features, episode).argmax(-1)
        accuracies.append(np.mean(found == episode.query_labels))
    row = rows["mean", 1]
    assert row["accuracy"] == pytest.approx(np.mean(accuracies))
    error = np.std(accuracies, ddof=1) / np.sqrt(40)
    assert row["interval"] == pytest.approx(1.96 * error, rel=1e-4)
    assert row["gain"] is None
    gain = np.mean(result.accuracies["mutual", 1] - accuracies[:4])
    assert rows["mutual", 1]["gain"] == pytest.approx(gain)
    assert row["accuracy"] > 0.6  # shades are told apart
    lines = str(result).splitlines()
    assert len(lines) == 1 + 6 + 1 and backbone.fingerprint()[:12] in lines[-1]
    fewer = few_shot(backbone, store, episodes=3, methods="mean", **options)
    np.testing.assert_array_equal(
        fewer.accuracies["mean", 2], result.accuracies["mean", 2][:3]
    )


def test_images_in_place_of_a_store_and_no_class_token():
    backbone = make_backbone("no_class_token", num_layers=1)
    data = (some_images(), LABELS)
    found = few_shot(backbone, data, shots=1, episodes=5, methods=["mean", "ridge"])
    assert found.ways == 3 and len(found.table) == 2
    with pytest.raises(ValueError, match="without 'mutual'"):
        few_shot(backbone, data, methods="mutual")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"methods": ["mean", "best"]}, "`methods` must be distinct ones of.*best"),
        ({"shots": (1, 0)}, "`shots` must be of ints of at least 1"),
        ({"shots": 6}, "`shots` of 6 leave no query of class 0, which has 6"),
        ({"ways": 4}, "`ways` must be an int from 2 to 3"),
        ({"episodes": 0}, "`episodes` must be of ints"),
    ],
)
def test_misuse_is_named(shades, change, message):
    with pytest.raises(ValueError, match=message):
        few_shot(*shades, **change)


def test_labels_of_two_tasks_are_refused(shades):
    backbone, store = shades
    both = store.with_labels({"a": LABELS, "b": LABELS})
    with pytest.raises(ValueError, match=r"labels of one task.*\['a', 'b'\]"):
        few_shot(backbone, both)
