"""Content of other formats under the names of images: is any decoded, or given to a program?"""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import patch

import numpy as np

from common.hardening_parts.rows import Row, Setting, counted

FOUND = "169 of 343 decoded as .png"
#: Endings of files; the last is an upload, which has none.
ENDINGS = ("png", "jpg", "tif", "bmp", "gif", "webp", "upload")


def formats(setting: Setting) -> list[Row]:
    """Return how many foreign contents are decoded as an image of another name, and EPS is run."""
    from PIL import EpsImagePlugin

    ran: list[object] = []
    decoded, n = [], 0
    with patch.object(EpsImagePlugin, "Ghostscript", lambda *args, **options: ran.append(args)):
        for name, content in foreign(setting.seed).items():
            for ending in ENDINGS:
                n += 1
                if is_decoded(setting.folder / f"a.{ending}", content):
                    decoded.append(f"{name} as {ending}")
    what = f"decoded {decoded[:5] or ''}".strip()
    return [
        counted("foreign contents as images", n, len(decoded), what, FOUND, asked_n=n),
        counted(
            "EPS as images",
            len(ENDINGS),
            len(ran),
            "given to Ghostscript",
            "all",
            asked_n=len(ENDINGS),
        ),
    ]


def foreign(seed: int) -> dict[str, bytes]:
    """Return content of every format that Pillow writes and that is none of the common ones."""
    from PIL import Image

    from isthmus.data.formats import COMMON_FORMATS

    Image.init()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = {"EPS by hand": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"}
    for name in sorted(Image.SAVE):
        if name in COMMON_FORMATS or name in ("MPO", "DIB"):  # which are JPEG and BMP
            continue
        for mode in ("RGB", "L", "1", "P", "RGBA"):
            file = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode).save(file, format=name)
            except Exception:  # no such mode, or no writer here
                continue
            found[f"{name} {mode}"] = file.getvalue()
    return found


def is_decoded(path: Path, content: bytes) -> bool:
    """Return whether content is decoded, under a name or as an upload."""
    from isthmus import load
    from isthmus.data.formats import decode_image
    from isthmus.errors import DataError

    try:
        if path.suffix == ".upload":
            decode_image(content, "a file", 10**6, [])
        else:
            path.write_bytes(content)
            load(path)
    except DataError:
        return False
    return True
