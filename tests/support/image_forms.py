"""One small picture in every form that the libraries here can write: formats, modes, depths, compressions."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from support.photos import pictures

SIZE = 64
Pixels = NDArray[np.uint8]


def picture() -> Image.Image:
    """A photo of 64 x 64 pixels with sharp and smooth parts, RGB."""
    return pictures()[0].resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes that Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def forms() -> Iterator[tuple[str, str, bytes]]:
    """Name, extension and bytes of each form."""
    yield from _jpegs()
    yield from _pngs()
    yield from _pnms()
    yield from _bmps()
    yield from _webps()
    yield from _others()


def _jpegs() -> Iterator[tuple[str, str, bytes]]:
    rgb = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    yield "JPEG RGB", ".jpg", saved(rgb, "JPEG", quality=90)
    yield "JPEG RGB, 4:4:4", ".jpg", saved(rgb, "JPEG", subsampling=0)
    yield "JPEG RGB, 4:2:2", ".jpg", saved(rgb, "JPEG", subsampling=1)
    yield "JPEG RGB, not YCbCr", ".jpg", saved(rgb, "JPEG", keep_rgb=True)
    yield "JPEG RGB, progressive", ".jpg", saved(rgb, "JPEG", progressive=True)
    yield "JPEG RGB, turned by EXIF", ".jpg", saved(rgb, "JPEG", exif=exif.tobytes())
    yield "JPEG L", ".jpg", saved(rgb.convert("L"), "JPEG")
    yield "JPEG L, progressive", ".jpg", saved(rgb.convert("L"), "JPEG", progressive=True)
    yield "JPEG 1", ".jpg", saved(rgb.convert("1"), "JPEG")
    yield "JPEG CMYK", ".jpg", saved(rgb.convert("CMYK"), "JPEG")
    yield "MPO RGB, two frames", ".jpg", saved(rgb, "MPO", save_all=True, append_images=[rgb.rotate(90)])
    yield "JPEG 2000 RGB", ".jp2", saved(rgb, "JPEG2000")


def _pngs() -> Iterator[tuple[str, str, bytes]]:
    rgb = np.asarray(picture())
    for bits, color_type, name in _PNG_KINDS:
        for interlaced in (False, True):
            ending = ", interlaced" if interlaced else ""
            if not interlaced:
                yield f"PNG {name}, {bits} bits", ".png", png(rgb, bits, color_type)
            elif bits == 8:
                yield f"PNG {name}, {bits} bits{ending}", ".png", saved_interlaced(rgb, color_type)
    rgba = picture().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize((SIZE, SIZE)))
    yield "PNG RGBA, half transparent", ".png", saved(rgba, "PNG")
    yield "PNG LA, half transparent", ".png", saved(rgba.convert("LA"), "PNG")
    yield "PNG P, one colour transparent", ".png", saved(picture().quantize(16), "PNG", transparency=3)
    yield (
        "PNG P, transparent colours",
        ".png",
        saved(picture().quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
    )
    yield "PNG RGB, one colour transparent", ".png", saved(picture(), "PNG", transparency=(0, 0, 0))
    yield "PNG L, one grey transparent", ".png", saved(picture().convert("L"), "PNG", transparency=0)
    yield "PNG RGB, animated", ".png", saved(picture(), "PNG", save_all=True, append_images=[picture().rotate(90)])
    yield "PNG RGB, with gamma", ".png", with_chunk(saved(picture(), "PNG"), b"gAMA", struct.pack(">I", 100_000))


_PNG_KINDS = [(bits, 0, "L") for bits in (1, 2, 4, 8, 16)] + [(bits, 2, "RGB") for bits in (8, 16)]
_PNG_KINDS += (
    [(bits, 3, "P") for bits in (1, 2, 4, 8)] + [(b, 4, "LA") for b in (8, 16)] + [(b, 6, "RGBA") for b in (8, 16)]
)


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunk(content: bytes, name: bytes, data: bytes) -> bytes:
    """A PNG with one chunk more, behind its header."""
    return content[:33] + chunk(name, data) + content[33:]


def png(rgb: Pixels, bits: int, color_type: int, interlace: int = 0) -> bytes:
    """A PNG written by the standard: Pillow writes neither all depths nor all colour types."""
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    full = np.full_like(grey, 255)
    planes = {0: [grey], 2: [*rgb.transpose(2, 0, 1)], 3: [grey >> (8 - min(bits, 8))]}
    planes |= {4: [grey, full], 6: [*rgb.transpose(2, 0, 1), full]}
    values = np.stack(planes[color_type], axis=-1).astype(np.int64)
    if color_type != 3:
        values = values * 257 + 19 if bits == 16 else values >> (8 - bits)
        values = np.minimum(values, 2**bits - 1)
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], bits, color_type, 0, 0, interlace)
    palette = (
        [chunk(b"PLTE", bytes(np.linspace(0, 255, 2**bits).astype(np.uint8).repeat(3)))] if color_type == 3 else []
    )
    rows = b"".join(b"\0" + _packed(row.reshape(-1), bits) for row in values)
    parts = [chunk(b"IHDR", header), *palette, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _packed(values: NDArray[np.int64], bits: int) -> bytes:
    if bits == 16:
        return values.astype(">u2").tobytes()
    digits = (values[:, None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(digits.astype(np.uint8).reshape(-1)).tobytes()


def saved_interlaced(rgb: Pixels, color_type: int) -> bytes:
    """An interlaced PNG (Adam7): seven small pictures in one stream."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = []
    for top, left, down, right in starts:
        whole = png(np.ascontiguousarray(rgb[top::down, left::right]), 8, color_type)
        start = whole.index(b"IDAT")
        size = struct.unpack(">I", whole[start - 4 : start])[0]
        parts.append(zlib.decompress(whole[start + 4 : start + 4 + size]))
    plain = png(rgb, 8, color_type, interlace=1)
    start = plain.index(b"IDAT")
    return plain[: start - 4] + chunk(b"IDAT", zlib.compress(b"".join(parts))) + chunk(b"IEND", b"")


def _pnms() -> Iterator[tuple[str, str, bytes]]:
    rgb = np.asarray(picture())
    grey = np.asarray(picture().convert("L"))
    head = f"{SIZE} {SIZE}"
    for kind, values, extension in ((3, rgb, ".ppm"), (2, grey, ".pgm")):
        name = {3: "RGB", 2: "L"}[kind]
        for most in (255, 15, 1000, 65535):
            scaled = values.astype(np.int64) * most // 255
            text = "\n".join(" ".join(map(str, row)) for row in scaled.reshape(SIZE, -1))
            yield f"P{kind} {name}, plain, maxval {most}", extension, f"P{kind}\n{head}\n{most}\n{text}\n".encode()
            raw = scaled.astype(np.uint8 if most < 256 else ">u2").tobytes()
            yield f"P{kind + 3} {name}, maxval {most}", extension, f"P{kind + 3}\n{head}\n{most}\n".encode() + raw
    raw = f"P6\n# a comment\n{head}\n255\n".encode() + rgb.tobytes()
    yield "P6 RGB, with a comment", ".ppm", raw
    yield "P4 1", ".ppm", saved(picture().convert("1"), "PPM")
    bits = "\n".join(" ".join(str(int(v < 128)) for v in row) for row in grey)
    yield "P1 1, plain", ".ppm", f"P1\n{head}\n{bits}\n".encode()
    depth = f"P7\nWIDTH {SIZE}\nHEIGHT {SIZE}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n".encode()
    yield "P7 RGB", ".ppm", depth + rgb.tobytes()


def _bmps() -> Iterator[tuple[str, str, bytes]]:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        image = picture().quantize(200) if mode == "P" else picture().convert(mode)
        yield f"BMP {mode}", ".bmp", saved(image, "BMP")
    grey = np.asarray(picture().convert("L"))
    palette = bytes(b for v in range(16) for b in (17 * v, 17 * v, 17 * v, 0))
    nibbles = (grey[::-1] >> 4).astype(np.uint8)
    four = ((nibbles[:, ::2] << 4) | nibbles[:, 1::2]).tobytes()
    yield "BMP P, 4 bits", ".bmp", bmp(4, 0, palette, four)
    rows = b"".join(b"".join(bytes((1, v)) for v in row) + b"\0\0" for row in grey[::-1]) + b"\0\1"
    full = bytes(b for v in range(256) for b in (v, v, v, 0))
    yield "BMP P, run lengths", ".bmp", bmp(8, 1, full, rows)
    rgb = np.asarray(picture()).astype(np.uint16)[::-1]
    five = (rgb[..., 0] >> 3 << 10 | rgb[..., 1] >> 3 << 5 | rgb[..., 2] >> 3).astype("<u2")
    yield "BMP RGB, 16 bits", ".bmp", bmp(16, 0, b"", five.tobytes())


def bmp(bits: int, compression: int, palette: bytes, content: bytes) -> bytes:
    """A BMP by its standard."""
    start = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(content), 0, 0, start)
    info = struct.pack(
        "<IiiHHIIiiII", 40, SIZE, SIZE, 1, bits, compression, len(content), 2835, 2835, len(palette) // 4, 0
    )
    return head + info + palette + content


def _webps() -> Iterator[tuple[str, str, bytes]]:
    if not features.check("webp"):
        return
    rgba = picture().convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize((SIZE, SIZE)))
    yield "WEBP RGB", ".webp", saved(picture(), "WEBP")
    yield "WEBP RGB, lossless", ".webp", saved(picture(), "WEBP", lossless=True)
    yield "WEBP L", ".webp", saved(picture().convert("L"), "WEBP")
    yield "WEBP RGBA, half transparent", ".webp", saved(rgba, "WEBP", lossless=True)
    yield "WEBP RGB, animated", ".webp", saved(picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)])


def _others() -> Iterator[tuple[str, str, bytes]]:
    yield "GIF P", ".png", saved(picture().quantize(64), "GIF")
    for name, options in (("raw", {}), ("LZW", {"compression": "tiff_lzw"})):
        yield f"TIFF RGB, {name}", ".tif", saved(picture(), "TIFF", **options)
    yield "ICO RGB", ".png", saved(picture(), "ICO")
    yield "TGA RGB", ".png", saved(picture(), "TGA")
    if features.check("avif"):
        yield "AVIF RGB", ".png", saved(picture(), "AVIF")
