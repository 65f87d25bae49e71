"""One image file: upright, on its ground, at its depth, within its memory; and whatever else a file may hold."""

import io
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin

from ddpm.errors import DataError
from ddpm.image_folder import decode as image_files
from ddpm.image_folder.decode import full_range, read_image, read_picture, scaled_levels


def saved(image: Image.Image, kind: str, **how) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    buffer.seek(0)
    return buffer


def shapes(mode: str = "RGB") -> Image.Image:
    """Nothing about it is symmetric."""
    image = Image.new("RGB", (24, 16), (30, 60, 90))
    image.paste((250, 10, 10), (5, 1, 11, 5))
    image.paste((10, 240, 20), (13, 9, 20, 14))
    return image.convert(mode)


EXIFS = 2000 if os.environ.get("DDPM_SOAK") else 400  # of each format


# -- orientation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(shapes(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(file) as image:
        upright = ImageOps.fit(ImageOps.exif_transpose(image), (16, 16), Image.Resampling.BILINEAR)
    file.seek(0)
    found = read_image(file, 16, 3).permute(1, 2, 0).int()
    assert (found - torch.from_numpy(np.array(upright)).int()).abs().max() <= 1


def damaged_exifs(count: int):
    """EXIF blocks with a few bytes changed at random, orientation and others in them."""
    dice = random.Random(0)
    exif = Image.Exif()
    for tag, value in {0x0112: 6, 0x010F: "Maker", 0x0132: "2020:01:01 00:00:00", 0x011A: 72.5, 0x0103: 6}.items():
        exif[tag] = value
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0x829A: 0.01, 0x927C: b"note" * 9})
    whole = exif.tobytes()
    for _ in range(count):
        block = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            block[dice.randrange(6, len(block))] = dice.choice((0, 1, 2, 5, 12, 127, 255, dice.randrange(256)))
        yield bytes(block[: dice.choice((len(block), len(block), dice.randrange(8, len(block))))])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_whatever_exif_holds_the_image_is_read_or_named(kind):
    image, read = shapes(), 0
    for exif in damaged_exifs(EXIFS):
        try:
            read += read_image(saved(image, kind, exif=exif), 8, 3, "it").shape == (3, 8, 8)
        except DataError as error:
            assert str(error).startswith("it cannot be read as an image: ")
    assert read > 0.95 * EXIFS  # its pixels are sound, after all


@pytest.mark.slow
def test_whatever_a_tiff_holds_it_is_read_or_named():
    dice, whole = random.Random(0), saved(shapes(), "TIFF").getvalue()
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            content[dice.choice((dice.randrange(8), dice.randrange(len(content))))] = dice.randrange(256)
        try:
            assert read_image(io.BytesIO(content), 8, 1, "it").shape == (1, 8, 8)
        except DataError as error:
            assert str(error).startswith("it ")
            assert "\n" not in str(error)


# -- transparency --------------------------------------------------------------------------------------------------


def ink(mode: str) -> Image.Image:
    """Black ink on a transparent ground, under whose alpha 0 hides another colour."""
    image = Image.new("RGBA", (12, 12), (255, 0, 0, 0) if mode == "RGBA" else (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 4, 8, 8))
    if mode != "P":
        return image.convert(mode)
    palette = Image.new("P", (12, 12), 0)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.paste(1, (4, 4, 8, 8))
    palette.info["transparency"] = 0
    return palette


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("#336699", None)])
def test_what_is_transparent_shows_the_ground_and_no_hidden_colour(mode, background, level):
    read = read_image(saved(ink(mode), "PNG"), 12, 3, background=background)
    assert read[:, 6, 6].tolist() == [0, 0, 0]
    assert read[:, 0, 0].tolist() == ([level] * 3 if level is not None else [0x33, 0x66, 0x99])
    assert read_image(saved(ink(mode), "PNG"), 12, 1)[0, 0, 0] == 255


def test_half_transparent_is_half_the_ground():
    read = read_image(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG"), 8, 1)
    assert read.unique().tolist() == [127]


def test_a_colour_that_the_palette_of_a_gif_calls_transparent_is_so():
    assert read_image(saved(ink("P"), "GIF", transparency=0), 12, 1)[0, 0, 0] == 255


# -- depth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("integer", (0, 4095), (0, 4095)),  # 12 bits in 16
        ("integer", (7, 4000), (0, 4095)),
        ("integer", (0, 65535), (0, 65535)),
        ("integer", (0, 200), (0, 255)),
        ("integer", (-1000, 3000), (-1000, 3000)),  # Hounsfield units
        ("float", (0.1, 0.9), (0, 1)),
        ("float", (-1.0, 1.0), (-1, 1)),
        ("float", (0.0, 255.0), (0, 255)),
    ],
)
def test_black_and_white_follow_from_the_kind_and_the_range(kind, values, expected):
    assert full_range(kind, *values) == expected


def test_scaling_of_levels_is_exact_and_a_constant_is_no_division_by_zero():
    assert scaled_levels(torch.tensor([0.0, 4095.0, 2047.5]), 0, 4095).tolist() == [0, 255, 128]
    assert scaled_levels(torch.tensor([3.0, 3.0]), 3, 3).tolist() == [0, 0]


def ramp(dtype, lowest, highest) -> np.ndarray:
    return np.linspace(lowest, highest, 256).astype(dtype).reshape(16, 16)


@pytest.mark.parametrize(
    ("values", "file_kind"),
    [
        (ramp(np.uint16, 0, 4095), "PNG"),
        (ramp(np.uint16, 0, 65535), "PNG"),
        (ramp(np.uint16, 0, 65535), "TIFF"),
        (ramp(np.int32, -1000, 3000), "TIFF"),
        (ramp(np.int32, 0, 2**31 - 1), "TIFF"),
        (ramp(np.float32, 0, 1), "TIFF"),
        (ramp(np.float32, -3, 40), "TIFF"),
    ],
)
def test_every_depth_keeps_256_levels(values, file_kind):
    read = read_image(saved(Image.fromarray(values), file_kind), 16, 1)
    assert (read.flatten().int() - torch.arange(256)).abs().max() <= 1
    assert torch.equal(read_image(saved(Image.fromarray(values), file_kind), 16, 3)[1], read[0])


def test_unsigned_32_bits_do_not_turn_negative():
    content = bytearray(saved(Image.fromarray(ramp(np.int32, 0, 2**31 - 1)), "TIFF").getvalue())
    pixels = ramp(np.int64, 0, 2**32 - 1).astype("<u4").tobytes()
    start = content.index(ramp(np.int32, 0, 2**31 - 1).tobytes())
    content[start : start + len(pixels)] = pixels
    sign = content.index(b"\x53\x01\x03\x00\x01\x00\x00\x00\x02")  # SampleFormat: 2, with a sign
    content[sign + 8] = 1
    read = read_image(io.BytesIO(content), 16, 1)
    assert (read.flatten().int() - torch.arange(256)).abs().max() <= 1


def test_values_that_are_no_numbers_are_named():
    with pytest.raises(DataError, match=r"^it cannot be read as an image: some of its values are not finite$"):
        read_image(saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), 4, 1, "it")


def png_of_sixteen_bit_colour(level: int, size: int = 8) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = size.to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    rows = (b"\0" + level.to_bytes(2, "big") * 3 * size) * size
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_sixteen_bits_of_colour_keep_the_upper_eight_and_say_so():
    read = read_picture(io.BytesIO(png_of_sixteen_bit_colour(0x8001)), 8, 3)
    assert read.pixels.unique().tolist() == [0x80]
    assert read.depth == ("colour", 0x80, 0x80)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_every_mode_is_read(mode):
    image = Image.new("LAB", (9, 9), (50, 0, 0)) if mode == "LAB" else shapes(mode)
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG", "LAB": "TIFF"}.get(mode, "PNG")
    assert read_image(saved(image, kind), 8, 3).shape == (3, 8, 8)


# -- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_photograph_is_unpacked_at_a_part_of_its_size_and_looks_the_same():
    y, x = np.mgrid[0:1200, 0:1600]
    photograph = np.stack([x / 1600, y / 1200, (x + y) / 2800], -1) * 200 + 20 * np.sin(x / 90)[..., None]
    image = Image.fromarray(photograph.astype(np.uint8))
    whole = read_image(saved(image, "PNG"), 32, 3).int()
    assert (read_image(saved(image, "JPEG", quality=95), 32, 3).int() - whole).abs().max() <= 4


@pytest.mark.slow
def test_200_megapixels_of_jpeg_are_read_and_more_are_named(monkeypatch):
    unpacked = []
    monkeypatch.setattr(image_files, "_cut", lambda image, *how: unpacked.append(image.size) or image.resize((8, 8)))
    read_image(saved(Image.new("L", (16_000, 12_500), 90), "JPEG"), 8, 1)
    assert unpacked == [(2000, 1563)]
    with pytest.raises(DataError, match="The file has 20 x 10 pixels; 100 is the most"):
        read_image(saved(Image.new("L", (20, 10)), "PNG"), 8, 1, "The file", max_pixels=100)


def test_what_unpacking_needs_is_counted():
    with Image.open(saved(Image.new("RGB", (100, 80)), "PNG")) as image:
        assert image_files._memory(image, 8000) == 32_000
    with Image.open(saved(Image.new("RGBA", (100, 80)), "PNG")) as image:
        assert image_files._memory(image, 8000) == 64_000
    with Image.open(saved(Image.new("RGB", (160, 160)), "JPEG", progressive=True, subsampling=2)) as image:
        image.draft(None, (20, 20))
        assert image_files._memory(image, 25_600) == 20 * 20 * 4 + 25_600 * 2 * 3 // 2
    assert image_files.MAX_MEMORY == 1_600_000_000


def test_a_png_with_two_megabytes_of_text_is_an_image():
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", "x" * 2_000_000, zip=True)
    text.add_itxt("Prompt", "y" * 2_000_000, zip=True)
    assert read_image(saved(shapes(), "PNG", pnginfo=text), 8, 3).shape == (3, 8, 8)


def test_a_path_is_named_as_it_is(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "x.png", 8, 1)
    assert str(caught.value) == f"{tmp_path / 'x.png'} cannot be read as an image: its content is of no known kind"


def broken_files():
    noise = Image.effect_noise((64, 64), 100)
    png, jpeg = saved(noise, "PNG").getvalue(), saved(noise, "JPEG").getvalue()
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 0xFF  # inside the compressed pixels, which unpack all the same
    return {
        "empty": b"",
        "text": b"no image",
        "truncated": png[: len(png) // 2],
        "truncated in its header": png[:20],
        "bad pixels": bytes(damaged),
        "truncated jpeg": jpeg[: len(jpeg) // 2],
    }


@pytest.mark.parametrize("content", broken_files().values(), ids=list(broken_files()))
def test_a_damaged_file_is_called_as_the_caller_says(content):
    with pytest.raises(DataError) as caught:
        read_image(io.BytesIO(content), 32, 3, "The file")
    assert str(caught.value).startswith("The file cannot be read as an image: ")
    assert "BytesIO" not in str(caught.value)
    assert "\n" not in str(caught.value)
