"""Generated photos of every kind that people send, as encoded bytes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def photos(count, largest=100, seed=0):
    """`[(kind, bytes)]`, the kinds in turn; EXIF orientations 1 to 8 among them."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS.items())
    found = []
    for i in range(count):
        kind, make = kinds[i % len(kinds)]
        height, width = rng.integers(1, largest, 2)
        found.append((kind, make(_noise(rng, height, width), i // len(kinds))))
    return found


def _noise(rng, height, width):
    """Uint8 `(h, w, 4)`: smooth colours, an alpha channel, and grain."""
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 4), dtype="uint8")
    smooth = np.asarray(Image.fromarray(coarse).resize((int(width), int(height))))
    grain = rng.normal(0, 12, smooth.shape)
    return np.clip(smooth + grain, 0, 255).astype("uint8")


def _save(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _rgb(a):
    return Image.fromarray(np.ascontiguousarray(a[..., :3]))


def _exif(i):
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    exif[ORIENTATION] = 1 + i % 8
    return exif


def png(pixels, depth, transparent=None):
    """A PNG of `(h, w, channels)` values, where Pillow cannot write such."""
    height, width, channels = pixels.shape
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in pixels]
    else:
        bits = np.unpackbits(pixels.astype("uint8"), axis=2)[:, :, -depth:]
        rows = [np.packbits(row.ravel()).tobytes() for row in bits]
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if transparent is not None:
        chunks.append((b"tRNS", struct.pack(">H", transparent)))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks += [(b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _deep(channels):
    def make(a, i):
        return png(a[..., :channels].astype(int) * 256 + i, 16)

    return make


KINDS = {
    "exif.jpg": lambda a, i: _save(_rgb(a), "JPEG", exif=_exif(i)),
    "exif.png": lambda a, i: _save(_rgb(a), "PNG", exif=_exif(i + 1)),
    "rgba.png": lambda a, i: _save(Image.fromarray(a), "PNG"),
    "la.png": lambda a, i: _save(Image.fromarray(a).convert("LA"), "PNG"),
    "palette.png": lambda a, i: _save(_rgb(a).quantize(64), "PNG"),
    "palette_alpha.png": lambda a, i: _save(Image.fromarray(a).quantize(64), "PNG"),
    "cmyk.jpg": lambda a, i: _save(
        Image.frombytes("CMYK", a.shape[1::-1], a.tobytes()), "JPEG"
    ),
    "gray.png": lambda a, i: _save(_rgb(a).convert("L"), "PNG"),
    "gray.jpg": lambda a, i: _save(_rgb(a).convert("L"), "JPEG"),
    "one_bit.png": lambda a, i: _save(_rgb(a).convert("1"), "PNG"),
    "two_bits.png": lambda a, i: png(a[..., :1] >> 6, 2),
    "four_bits.png": lambda a, i: png(a[..., :1] >> 4, 4, transparent=7),
    "gray16.png": _deep(1),
    "gray_alpha16.png": _deep(2),
    "rgb16.png": _deep(3),
    "rgba16.png": _deep(4),
    "one_colour.png": lambda a, i: _save(
        _rgb(a), "PNG", transparency=tuple(map(int, a[0, 0, :3]))
    ),
    "one_gray.png": lambda a, i: _save(_rgb(a).convert("L"), "PNG", transparency=128),
    "progressive.jpg": lambda a, i: _save(_rgb(a), "JPEG", progressive=True),
    "sampled.jpg": lambda a, i: _save(_rgb(a), "JPEG", subsampling=i % 3),
}
