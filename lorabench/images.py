"""Pictures as uint8 arrays [h, w, 3]: read, write, resize, damage. With the renderer, the only user of PIL."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from lorabench.errors import UserError
from lorabench.records import RESIZE_MODES, ResizeMode

# Bicubic (with PIL's antialiasing) is what DINOv2, CLIP and ConvNeXt V2 were evaluated with by their authors.
ENCODER_FILTER = Image.Resampling.BICUBIC
# What people's pictures are. Others of PIL's run programs (EPS: Ghostscript) or are seldom met, and seldom mended.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
THUMBNAIL_FILTER = Image.Resampling.LANCZOS  # the sharpest one


def read(path: Path) -> np.ndarray:
    """The picture as uint8 [h, w, 3]: turned as EXIF says, transparency onto white, 16 bits to 8, first frame.

    Colour profiles are not applied. UserError for a file that is no picture of `FORMATS`, too large or cut short.
    """
    path = Path(path)
    try:
        with Image.open(path, formats=_formats()) as file:
            picture = ImageOps.exif_transpose(_eight_bits(file))
            if picture.has_transparency_data:
                picture = _onto_white(picture.convert("RGBA"))
            return np.array(picture.convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"Picture {path} does not exist.") from None
    except Exception as error:  # PIL has no exception of its own for broken files, and its decoders raise anything
        raise UserError(f"Picture {path} cannot be read ({error}). Replace the file or take it away.") from error


def opacity(path: Path) -> np.ndarray | None:
    """How opaque a picture is, uint8 [h, w, 3] with three equal channels; None of one without transparency.

    UserError as `read`.
    """
    try:
        with Image.open(path, formats=_formats()) as file:
            picture = ImageOps.exif_transpose(_eight_bits(file))
            if not picture.has_transparency_data:
                return None
            return np.repeat(np.array(picture.convert("RGBA"))[..., 3:], 3, axis=2)
    except Exception as error:  # as in `read`
        raise UserError(f"Picture {path} cannot be read ({error}). Replace the file or take it away.") from error


def texts(path: Path) -> dict[str, str]:
    """What a picture's file says of itself beside its pixels: text chunks of PNG, and EXIF's user comment.

    UserError for a file that is no picture of `FORMATS`.
    """
    try:
        with Image.open(path, formats=_formats()) as file:
            found = {str(name): text for name, text in file.info.items() if isinstance(text, str)}
            comment = file.getexif().get_ifd(_EXIF).get(_USER_COMMENT)
    except FileNotFoundError:
        raise UserError(f"Picture {path} does not exist.") from None
    except Exception as error:  # as in `read`
        raise UserError(f"Picture {path} cannot be read ({error}). Replace the file or take it away.") from error
    return found | ({USER_COMMENT: _comment(comment)} if comment else {})


USER_COMMENT = "UserComment"
_EXIF, _USER_COMMENT = 0x8769, 0x9286


def _comment(value: bytes | str) -> str:
    """The words of a user comment: eight bytes name their code. UTF-16 may be of either order: words begin in ASCII."""
    if isinstance(value, str):
        return value
    code, words = value[:8], value[8:]
    if not code.startswith(b"UNICODE"):
        return words.decode("utf-8", "replace")
    return words.decode("utf-16-be" if words[:1] == b"\0" else "utf-16-le", "replace")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this PIL was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def write(path: Path, image: np.ndarray) -> None:
    """Write a PNG without metadata: equal pictures give equal bytes under one version of PIL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Level 3 takes a third of the default level's time for files a few per cent larger.
    Image.fromarray(_checked(image)).save(path, format="PNG", compress_level=3)


def thumbnail(image: np.ndarray, side: int) -> bytes:
    """The picture as WebP, shrunk (never enlarged) to fit into `side` x `side` pixels: for looking, not measuring."""
    picture = Image.fromarray(_checked(image))
    factor = side / max(picture.size)
    if factor < 1:
        picture = picture.resize([max(1, round(length * factor)) for length in picture.size], THUMBNAIL_FILTER)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=85, method=4)
    return buffer.getvalue()


def resize(image: np.ndarray, size: int, mode: ResizeMode) -> np.ndarray:
    """Resize for an encoder (bicubic): "scale" makes the shorter side `size`, the others give `size` x `size`.

    "letterbox" makes the longer side `size` and pads with black, centred (as the code of the paper's authors does);
    "center_crop" takes the largest centred square; "stretch" ignores the aspect ratio. ValueError for another mode.
    """
    height, width = _checked(image).shape[:2]
    if mode == "letterbox":
        factor = size / max(height, width)
        inside = (max(1, round(width * factor)), max(1, round(height * factor)))
        return _padded(_resized(image, *inside, ENCODER_FILTER), size)
    if mode == "center_crop":
        image = _centre(image, min(height, width), min(height, width))
    elif mode == "scale":
        shorter = min(height, width)
        return _resized(image, round(width * size / shorter), round(height * size / shorter), ENCODER_FILTER)
    elif mode != "stretch":
        raise ValueError(f"Unknown resize mode '{mode}'. Available: {', '.join(RESIZE_MODES)}.")
    return _resized(image, size, size, ENCODER_FILTER)


def fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize to cover `width` x `height` pixels and cut the centre: what training does for a bucket.

    A new pixel is the mean of what it covers: OpenCV's INTER_AREA, with which the paper's trainer resizes up and down.
    """
    return cut(covering(image, width, height), cut_at(image, width, height), width, height)


def covering(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture resized to cover `width` x `height` pixels, as `fit` does it, and not cut."""
    sides = _covering(_checked(image), width, height)
    rows = _covered(image, sides[0])
    resized = _covered(rows.swapaxes(0, 1), sides[1]).swapaxes(0, 1)
    return np.rint(resized).astype(np.uint8)


def cut(image: np.ndarray, corner: tuple[int, int], width: int, height: int) -> np.ndarray:
    """So many columns and rows of a picture, from (top, left) on."""
    top, left = corner
    return image[top : top + height, left : left + width]


def cut_at(image: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Rows above and columns left of what `fit` cuts out of the resized picture."""
    rows, columns = _covering(image, width, height)
    return (rows - height) // 2, (columns - width) // 2


def _covering(image: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the picture resized to cover `width` x `height`."""
    old_height, old_width = image.shape[:2]
    factor = max(width / old_width, height / old_height)
    rows, columns = (max(least, int(old * factor + 0.5)) for least, old in ((height, old_height), (width, old_width)))
    return rows, columns


def _covered(pixels: np.ndarray, length: int) -> np.ndarray:
    """Means of `length` equal parts of the first axis; a part may begin and end inside of a pixel."""
    old = len(pixels)
    if old == length:
        return pixels
    edges = np.arange(length + 1) * (old / length)
    whole = np.minimum(edges.astype(int), old - 1)
    # Whole pixels before each edge, summed exactly (uint8) or to 15 digits; then the part of the pixel at the edge.
    sums = np.zeros((old + 1, *pixels.shape[1:]), np.uint32 if pixels.dtype == np.uint8 else np.float64)
    np.cumsum(pixels, axis=0, dtype=sums.dtype, out=sums[1:])
    upto = sums[whole] + (edges - whole)[:, None, None] * pixels[whole]
    return np.diff(upto, axis=0) * (length / old)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """The picture under a Gaussian blur of so many pixels."""
    return np.array(Image.fromarray(_checked(image)).filter(ImageFilter.GaussianBlur(sigma)))


def compressed(image: np.ndarray, quality: int, format: Literal["JPEG", "WEBP"] = "JPEG") -> np.ndarray:
    """The picture as a file of that lossy format and quality (1 to 95) shows it."""
    buffer = io.BytesIO()
    Image.fromarray(_checked(image)).save(buffer, format=format, quality=quality)
    return np.array(Image.open(buffer))


def cropped(image: np.ndarray, share: float) -> np.ndarray:
    """The middle of the picture, that share of each side, enlarged to the whole (bicubic)."""
    height, width = _checked(image).shape[:2]
    x, y = (round(length * (1 - share) / 2) for length in (width, height))
    box = (x, y, width - x, height - y)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Greys of more than 8 bits as 8 (PIL itself cuts them off at 255); other pictures unchanged."""
    if picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.int64)
        if values.max() > 65535 or values.min() < 0:
            raise ValueError(f"grey values from {values.min()} to {values.max()} are not 16 bits")
        grey = Image.fromarray((values // 257).astype(np.uint8))
        grey.info["exif"] = picture.info.get("exif", b"")
        return grey
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    return picture


def _onto_white(picture: Image.Image) -> Image.Image:
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture)


def _checked(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"A picture is uint8 [h, w, 3], got {image.dtype} {list(image.shape)}.")
    return image


def _padded(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(image, ((top, side - height - top), (left, side - width - left), (0, 0)))


def _centre(image: np.ndarray, width: int, height: int) -> np.ndarray:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _resized(image: np.ndarray, width: int, height: int, resampling: Image.Resampling) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), resampling))
