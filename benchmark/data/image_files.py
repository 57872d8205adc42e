"""Image files of any kind as small colour images of 8 bits.

What Pillow can read is accepted where it is clear what its pixels mean:

- grey, palette, CMYK and 1-bit images become RGB;
- transparent images are put on white, since the colours of invisible pixels are arbitrary;
- the rotation that a camera noted (EXIF) is applied, so images are as a viewer shows them;
- grey images of up to 16 bits are divided by one white level for the whole set: the largest number of as many bits as
  the brightest of them needs (`white_level`), so 12-bit images stored in 16 bits keep their contrast;
- colour of 16 bits a channel keeps its upper 8 bits, and of several frames the first is taken;
- floating-point, negative and larger pixels have no agreed white: they are refused.
"""

import warnings
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torchvision.transforms.v2 import functional

from benchmark.errors import UserError

LISTED = 20  # bad images named in one message
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes for grey of more than 8 bits
_MODES = ("1", "L", "P", "RGB", "RGBX", "RGBA", "RGBa", "LA", "La", "PA", "CMYK", "YCbCr", "HSV", *_DEEP)


def check(paths: Iterable[str], work: Callable[[str], object]) -> None:
    """Do some work on every image, and list those on which it fails.

    Raises:
        UserError: names the first 20 of them, each with the reason and a remedy.
    """
    bad = []
    for path in paths:
        try:
            work(path)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders fail in many ways
            bad.append(f"  {path}: {_reason(error)}")
            if len(bad) == LISTED:
                bad.append(f"  (only the first {LISTED} are listed)")
                break
    if bad:
        raise UserError("These images cannot be used:\n" + "\n".join(bad))


def white_level(paths: Iterable[str]) -> int:
    """Check every image's header, and the pixels of deep grey images; return the value that counts as white.

    Returns:
        255 without deep grey images, and at most 65,535.

    Raises:
        UserError: see `check`.
    """
    deep: list[str] = []
    brightest = [255]

    def look(path: str) -> None:
        if _mode(path) in _DEEP:
            deep.append(path)

    def measure(path: str) -> None:
        with Image.open(path) as image:
            pixels = np.asarray(image)
        lowest, highest = int(pixels.min()), int(pixels.max())
        if lowest < 0 or highest > 65_535:
            raise ValueError(f"its pixels range from {lowest} to {highest}; save it with 8 or 16 bits, from 0")
        brightest.append(highest)

    check(paths, look)
    check(deep, measure)
    return 2 ** max(brightest).bit_length() - 1


def decode(path: str, size: int, white: int) -> NDArray[np.uint8]:
    """One image, uint8 [3, size, size]: the shorter side scaled to `size`, the centre cut out.

    Raises:
        Exception: whatever Pillow says of a damaged file; `check` explains it.
    """
    with Image.open(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        colour = _rgb(image, white)
    if colour.size != (size, size):
        colour = functional.center_crop(functional.resize(colour, [size], antialias=True), [size, size])
    return np.asarray(colour).transpose(2, 0, 1)


def _rgb(image: Image.Image, white: int) -> Image.Image:
    if image.mode in _DEEP:
        grey = np.rint(np.asarray(image) * (255 / white)).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _mode(path: str) -> str:
    """How the pixels are stored, from the header.

    Raises:
        ValueError: they cannot be used.
        Image.DecompressionBombError, Image.DecompressionBombWarning: there are too many.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.mode not in _MODES:
                raise ValueError(f"its pixels are of Pillow's mode {image.mode!r}; save it with 8 or 16 bits a channel")
            return image.mode


def _reason(error: Exception) -> str:
    """Why an image cannot be used, and the remedy."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; scale it down"
    if isinstance(error, UnidentifiedImageError):
        return "it is damaged, or not an image that Pillow can read; replace it or take it out of the folder"
    if isinstance(error, OSError) and error.errno is not None:  # the file may be fine: never ask to delete it
        return f"it cannot be read ({error.strerror}); check its permissions and the disk"
    if isinstance(error, ValueError) and str(error).startswith("its pixels"):
        return str(error)
    return f"it is damaged ({' '.join(str(error).split())}); replace it or take it out of the folder"
