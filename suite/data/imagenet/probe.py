"""One image file: can it be decoded, and is it what it seems? No torch.

Pillow is the judge: what it decodes whole, in the formats and modes below, DALI and torchvision decode too, to the same
pixels. TIFF is left out: DALI refuses some, and its library and Pillow's in one process have been seen to crash.
"""

import io
import warnings
import zlib
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from suite.data.imagenet.manifest import EXTENSIONS, Row
from suite.records.file_errors import retrying

_FORMATS = {  # that both loaders decode, and the extensions they go by
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")  # others the loaders make into different colours


def examine(root: Path, path: str, label: int) -> Row:
    """Read and decode one file, ``root / path``: the row of it. A file that cannot be read is a problem, no error."""
    file = root / path
    try:
        stat, content = file.stat(), retrying(file.read_bytes, file)
    except OSError as error:
        return Row(path, 0, 0, label, 0, False, f"cannot be read: {error.strerror}")
    problem, used = check_image(content, file.suffix.lower())
    if "\n" in path or "\r" in path:
        problem, used = "a line break in its name", False
    return Row(path, stat.st_size, stat.st_mtime_ns, label, zlib.crc32(content), used, problem)


def check_image(content: bytes, extension: str) -> tuple[str, bool]:
    """What is odd about the bytes of a file, "" if nothing is, and whether training may have it.

    Args:
        content: all of it.
        extension: that of its name, small letters, with the dot.
    """
    if extension not in EXTENSIONS:
        return f"wrong extension {extension or '(none)'}: torchvision's ImageFolder takes no such file", False
    if not content:
        return "zero bytes", False
    try:
        kind, mode = _decode(content)
    except UnidentifiedImageError:
        return "not an image", False
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels", False
    except Exception as error:  # Pillow's readers raise whatever they meet
        message = str(error) or type(error).__name__
        return ("truncated" if "runcated" in message else f"cannot be decoded: {message}"), False
    if kind not in _FORMATS or mode not in _MODES:
        return f"{kind} image of mode {mode}: not all loaders decode it alike", False
    if kind == "PNG" and b"IEND" not in content[-16:]:
        return "truncated", False  # Pillow does not mind
    odd = [] if extension in _FORMATS[kind] else [f"wrong extension: a {kind} image named {extension}"]
    return "; ".join([*odd, *(["CMYK"] if mode == "CMYK" else [])]), True


def _decode(content: bytes) -> tuple[str, str]:
    """Format and mode of an image, once it was decoded whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which nobody reads here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content)) as image:
            if image.format in _FORMATS:
                image.load()
            return image.format or "?", image.mode
