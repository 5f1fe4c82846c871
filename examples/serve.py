"""Serve the quickstart's tasks: one SavedModel, queried with JPEG files.

    python examples/serve.py

takes `quickstart.keras` from the quickstart's output, and runs the quickstart first
if it is not there. The model of all tasks is exported to
`saved_models/people/<next version>` and queried as a server would: in a process that
cannot import Keras, by file contents alone. The README says how to start TensorFlow
Serving on the same folder. KERAS_BACKEND chooses the backend that trains and exports;
what is exported is TensorFlow's in any case.
"""

import argparse
import pathlib
import subprocess
import sys

from PIL import Image

import keras_memvit

QUERY = """
import sys

import tensorflow as tf

for name in [module for module in sys.modules if module.split(".")[0] == "keras"]:
    sys.modules[name] = None  # TensorFlow brings Keras along: not in this process
sys.modules["keras_memvit"] = None

served = tf.saved_model.load(sys.argv[1])
predict = served.signatures["serving_default_bytes"]
files = sys.argv[2:]
outputs = predict(image_bytes=tf.constant([open(f, "rb").read() for f in files]))
tasks = sorted({key.split("/")[0] for key in outputs} - {"base"})
for i, file in enumerate(files):
    print(file)
    for task in tasks:
        best = outputs[f"{task}/classes"][i, 0].numpy().decode()
        probability = float(tf.reduce_max(outputs[f"{task}/probabilities"][i]))
        print(f"    {task}: {best} ({probability:.0%})")
"""


def main():
    args = parse_args()
    folder = keras_memvit.export_saved_model(load_model(args), args.export)
    files = args.images or write_jpegs(args.output)
    subprocess.run([sys.executable, "-c", QUERY, str(folder), *files], check=True)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = pathlib.Path
    parser.add_argument("--output", type=path, default=path("quickstart_output"))
    parser.add_argument("--export", type=path, default=path("saved_models/people"))
    parser.add_argument(
        "--images", nargs="+", metavar="JPEG", help="files to ask about"
    )
    parser.add_argument("--short", action="store_true", help="a short quickstart")
    return parser.parse_args()


def load_model(args):
    """The quickstart's model of all tasks, trained now if need be."""
    file = args.output / "quickstart.keras"
    if not file.exists():
        quickstart = pathlib.Path(__file__).with_name("quickstart.py")
        options = ["--output", str(args.output), *(["--short"] if args.short else [])]
        subprocess.run([sys.executable, str(quickstart), *options], check=True)
    return keras_memvit.load_model(file)


def write_jpegs(folder):
    """Two photographs: a face, cut out of a portrait, and a building."""
    from skimage.data import astronaut
    from sklearn.datasets import load_sample_image

    face = Image.fromarray(astronaut()[60:190, 160:290])
    building = Image.fromarray(load_sample_image("china.jpg")).crop(
        (200, 100, 440, 340)
    )
    files = []
    for name, image in (("face", face), ("building", building)):
        file = folder / f"{name}.jpg"
        image.convert("L").save(file, quality=95)  # the faces it learnt are grey
        files.append(str(file))
    return files


if __name__ == "__main__":
    main()
