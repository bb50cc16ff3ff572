"""From the bytes of one picture to uint8 RGB, whatever it was, and to the size asked for."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from nitrogen.pipelines.data.limits import Limits

# Named, so that a file can never reach the decoders that start other programs (EPS, WMF).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

# What was changed -> how the manifest says it; the number of pictures follows.
NOTES = {
    "grey": "Grey, repeated to three channels",
    "alpha": "With transparency, composited on white",
    "16-bit": "Of 16 bits a channel, scaled to 8 bits",
    "cmyk": "CMYK, converted to RGB",
    "animated": "Animated, only the first frame taken",
    "rotated": "Turned upright as their EXIF orientation says",
    "scaled": "Scaled to size, reduced by area or enlarged bicubically",
    "padded": "Not square, padded with white to keep their aspect",
}


class BrokenPictureError(ValueError):
    """A picture that cannot be used; the message is the reason that the manifest lists."""


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8 [h, w, 3]; traits: keys of NOTES that hold for this picture."""

    pixels: np.ndarray
    traits: frozenset[str]


def decode_picture(data: bytes, limits: Limits) -> Decoded:
    """Decodes PNG, JPEG, WebP, BMP or GIF (first frame) to RGB; transparency becomes white.

    Raises BrokenPictureError with the reason: empty, truncated, no picture, or over the limits.
    """
    if not data:
        raise BrokenPictureError("empty file")
    if len(data) > limits.max_file_bytes:
        raise BrokenPictureError(f"more than {limits.max_file_bytes} bytes")
    try:
        # Pillow warns of odd metadata on the terminal; the verdict here is all that counts.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=FORMATS) as picture,
        ):
            num_pixels = picture.width * picture.height
            if num_pixels > limits.max_pixels:
                raise BrokenPictureError(f"{picture.width}x{picture.height} is too many pixels")
            picture.load()
            return _to_rgb(picture)
    except BrokenPictureError:
        raise
    except Exception as error:
        # Decoders of untrusted bytes raise nearly everything: OSError, SyntaxError, struct.error,
        # IndexError, zlib.error. All mean the same, and one bad file must not stop the rest.
        raise BrokenPictureError(_reason(error)) from error


def decode_array(pixels: np.ndarray) -> Decoded:
    """The same for raw pixels: uint8 [h, w] (grey) or [h, w, 3]."""
    if pixels.ndim == 2:
        return Decoded(np.repeat(pixels[:, :, None], 3, axis=2), frozenset({"grey"}))
    return Decoded(pixels, frozenset())


def fit_square(decoded: Decoded, size: int) -> Decoded:
    """Fits the picture into size x size: scaled to the longer side, padded with white, centred.

    Reduction averages over the area that a pixel covers; enlargement is bicubic.
    """
    height, width = decoded.pixels.shape[:2]
    if height == width == size:
        return decoded
    traits = set(decoded.traits)
    longer = max(height, width)
    if longer != size:
        traits.add("scaled")
    new = (max(1, round(width * size / longer)), max(1, round(height * size / longer)))
    method = Image.Resampling.BOX if longer > size else Image.Resampling.BICUBIC
    scaled = Image.fromarray(decoded.pixels).resize(new, method)
    if new != (size, size):
        traits.add("padded")
        canvas = Image.new("RGB", (size, size), "white")
        canvas.paste(scaled, ((size - new[0]) // 2, (size - new[1]) // 2))
        scaled = canvas
    return Decoded(np.asarray(scaled), frozenset(traits))


def encode_png(pixels: np.ndarray) -> bytes:
    """Returns the lossless PNG of uint8 [h, w, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _to_rgb(picture: Image.Image) -> Decoded:
    traits = set()
    if getattr(picture, "n_frames", 1) > 1:
        traits.add("animated")
    upright = _upright(picture)
    if upright is not picture:
        traits.add("rotated")
    image = upright
    if image.mode.startswith(("I", "F")):
        traits |= {"grey", "16-bit"}
        image = _eight_bits(image)
    elif image.mode in ("1", "L", "LA", "La"):
        traits.add("grey")
    elif image.mode == "CMYK":
        traits.add("cmyk")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if np.asarray(rgba)[..., 3].min() < 255:
            traits.add("alpha")
        canvas = Image.new("RGBA", rgba.size, "white")
        canvas.alpha_composite(rgba)
        image = canvas
    return Decoded(np.asarray(image.convert("RGB")), frozenset(traits))


def _upright(picture: Image.Image) -> Image.Image:
    try:
        if picture.getexif().get(0x0112, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except Exception:
        # Broken EXIF data is common in pictures that are sound otherwise.
        return picture


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits to 8: `convert("L")` would clip every value above 255 to white."""
    values = np.asarray(image).astype(np.float64)
    scaled = np.rint(np.clip(values, 0, 65535) / 257.0).astype(np.uint8)
    return Image.fromarray(scaled)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a PNG, JPEG, WebP, BMP or GIF picture"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels"
    text = str(error).split("\n")[0][:120] or type(error).__name__
    return f"does not decode ({text})"
