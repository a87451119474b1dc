"""One image file: can it be decoded, is it what it seems, and do both loaders see the same pixels? No torch.

Pillow decodes every image. DALI decodes those whose form (format, mode, depth) is not known to come out alike, and a
sample of the others. TIFF is left out: DALI refuses some, and its library and Pillow's in one process have been seen to
crash.
"""

import io
import re
import struct
import warnings
import zlib
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from suite.data.imagenet.manifest import EXTENSIONS, Row
from suite.records.file_errors import retrying

if TYPE_CHECKING:
    from suite.data.imagenet.dali_decoder import DaliDecoder

FORMATS = {  # that both loaders may decode, and the extensions they go by
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
ALIKE = {  # forms that come out alike; tests decode each with both loaders
    *("JPEG L", "JPEG RGB", "JPEG CMYK", "MPO RGB"),
    *(f"PNG {mode}, 8 bits" for mode in ("L", "LA", "P", "RGB", "RGBA")),
    *(f"PNG {mode}, 16 bits" for mode in ("RGB", "RGBA")),
    *("PPM L, P5, maximum 255", "PPM RGB, P6, maximum 255"),
    *("BMP L, 8 bits", "BMP P, 8 bits", "BMP RGB, 24 bits"),
    *("WEBP RGB", "WEBP RGBA"),
}
TOLERANCE = 1  # levels of 256 by which the pixels of the two loaders may differ
_PNM = re.compile(rb"(P[1-6])" + rb"(?:\s|#[^\n]*\n)+(\d+)" * 3)


class Probe:
    """Decodes images, one after another.

    Args:
        compare: which images DALI decodes too: "all"; "odd": those of a form that is not known to come out alike;
            "sample": those, and the first one of each other form.
    """

    def __init__(self, compare: Literal["all", "odd", "sample"] = "odd") -> None:
        self._compares_all = compare == "all"
        self._trusted = set(ALIKE) if compare == "odd" else set()
        self._dali: DaliDecoder | None = None

    def examine(self, root: Path, path: str, label: int) -> Row:
        """Read and decode one file, ``root / path``: the row of it. One that cannot be read is a problem, no error."""
        file = root / path
        try:
            stat = file.stat()
            if not S_ISREG(stat.st_mode):  # reading a named pipe would wait for ever
                return Row(path, 0, 0, label, 0, False, "not a regular file")
            content = retrying(file.read_bytes, file)
        except OSError as error:
            return Row(path, 0, 0, label, 0, False, f"cannot be read: {error.strerror}")
        problem, used = self.check(content, file.suffix.lower())
        if "\n" in path or "\r" in path:
            problem, used = "a line break in its name", False
        return Row(path, stat.st_size, stat.st_mtime_ns, label, zlib.crc32(content), used, problem)

    def check(self, content: bytes, extension: str) -> tuple[str, bool]:
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
            kind, form, pixels = _decode(content)
        except UnidentifiedImageError:
            return "not an image", False
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels", False
        except Exception as error:  # Pillow's readers raise whatever they meet
            message = str(error) or type(error).__name__
            return ("truncated" if "runcated" in message else f"cannot be decoded: {message}"), False
        if pixels is None:
            return f"{kind} image: only {', '.join(FORMATS)} are decoded by all loaders", False
        if kind == "PNG" and b"IEND" not in content[-16:]:
            return "truncated", False  # Pillow does not mind
        if problem := self._compared(content, form, pixels):
            return problem, False
        odd = [] if extension in FORMATS[kind] else [f"wrong extension: a {kind} image named {extension}"]
        return "; ".join([*odd, *(["CMYK"] if form.endswith("CMYK") else [])]), True

    def _compared(self, content: bytes, form: str, pixels: NDArray[np.uint8]) -> str:
        """How DALI's pixels differ from Pillow's, "" where they do not, or need not be compared."""
        if form in self._trusted:
            return ""
        if self._dali is None:
            if not (find_spec("nvidia") and find_spec("nvidia.dali")):
                return (
                    "" if form in ALIKE else f"{form}: may differ between loaders; with NVIDIA DALI a scan can compare"
                )
            from suite.data.imagenet.dali_decoder import DaliDecoder

            self._dali = DaliDecoder()
        try:
            theirs = self._dali.decode(content)
        except RuntimeError:
            return f"{form}: DALI cannot decode it"
        if theirs.shape != pixels.shape:
            return f"{form}: {pixels.shape[:2]} pixels by Pillow, {theirs.shape[:2]} by DALI"
        if (most := int(np.abs(theirs.astype(np.int16) - pixels).max(initial=0))) > TOLERANCE:
            return f"{form}: differs by up to {most} of 256 levels between Pillow and DALI"
        if form in ALIKE and not self._compares_all:
            self._trusted.add(form)
        return ""


def _decode(content: bytes) -> tuple[str, str, NDArray[np.uint8] | None]:
    """Format, form and pixels of an image, uint8 (H, W, 3), as torchvision has them; no pixels of another format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, which nobody reads here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content)) as image:
            kind = image.format or "?"
            if kind not in FORMATS:
                return kind, kind, None
            form = f"{kind} {image.mode}{_depth(kind, content)}"
            return kind, form, np.asarray(image.convert("RGB"))


def _depth(kind: str, content: bytes) -> str:
    if kind == "PNG":
        return f", {content[24]} bits"
    if kind == "BMP":
        bits, compression = struct.unpack_from("<HI", content, 28)
        return f", {bits} bits" + (", compressed" if compression else "")
    if kind == "PPM":
        found = _PNM.match(content)
        if content[:2] in (b"P1", b"P4"):
            return f", {content[:2].decode()}"
        return f", {found[1].decode()}, maximum {int(found[4])}" if found else ", of an odd header"
    return ""
