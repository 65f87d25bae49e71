"""``edit``: what the commands write is what the library makes."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm import editing, load_model
from ddpm.config import sampling_settings
from ddpm.data import to_float
from ddpm.image_folder.decode import read_image
from ddpm.media.images import enlarge, make_grid, to_uint8

pytestmark = pytest.mark.slow
STEPS = ["--num-steps", "4"]


@pytest.fixture
def edit(cli, tiny_run, tmp_path):
    """Runs a command on the tiny model; returns what it wrote, and what it said."""
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    Image.fromarray(np.repeat([[0], [255]], 4, 0).repeat(8, 1).astype(np.uint8)).save(tmp_path / "mask.png")

    def run(tool: str, *words: str, out: str = "made.png"):
        result = cli("edit", tool, "--model", "tiny", *STEPS, *words, "--out", out)
        assert result.code == 0, result.err
        assert out in result.out
        return np.asarray(picture(out)).astype(int), result

    return run


def picture(path: str) -> Image.Image:
    return Image.open(io.BytesIO(Path(path).read_bytes()))


def image(name: str = "one") -> torch.Tensor:
    return to_float(read_image(name + ".png", 8, 1)[None])


def settings(**more: object):
    return sampling_settings(load_model("tiny").config, num_steps=4, **more)


def grid(steps) -> np.ndarray:
    *_, last = steps
    return np.asarray(enlarge(make_grid(to_uint8(last.x0)))).astype(int)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and np.abs(found - expected).max() <= 1


def test_sketch(edit):
    found, _ = edit("sketch", "--image", "one.png", "--strength", "0.5", "--labels", "3", "--seed", "2")
    four = image().expand(4, -1, -1, -1)
    assert same(found, grid(editing.sketch(load_model("tiny"), four, 0.5, labels=[3], settings=settings(), seed=2)))
    negative, _ = edit("sketch", "--image", "one.png", "--strength", "0", "--negative")
    assert same(negative, np.asarray(enlarge(make_grid(to_uint8(-four)))).astype(int))


def test_inpaint_keeps_what_is_dark_in_the_mask(edit):
    words = ["--image", "one.png", "--mask", "mask.png", "--repeats", "2", "--sampler", "ddpm", "--num-samples", "2"]
    found, _ = edit("inpaint", *words)
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 4:, :] = True
    made = editing.inpaint(load_model("tiny"), image().expand(2, -1, -1, -1), mask, repeats=2,
                           settings=settings(sampler="ddpm"))  # fmt: skip
    assert same(found, grid(made))


def test_blend_writes_a_strip_or_a_loop(edit):
    found, _ = edit("blend", "--image", "one.png", "--image", "two.png", "--frames", "3", "--start", "9")
    blended = editing.blend(load_model("tiny"), image(), image("two"), [0, 0.5, 1], 9, settings=settings())
    *_, last = blended
    assert same(found, np.asarray(enlarge(make_grid(to_uint8(last.x0), columns=3))).astype(int))
    edit("blend", "--to-seed", "4", "--frames", "3", "--labels", "3", out="loop.gif")
    assert picture("loop.gif").n_frames == 4  # there and back
    by_noise, _ = edit("blend", "--image", "one.png", "--image", "two.png", "--frames", "3", "--inverted")
    *_, last = editing.blend_inverted(load_model("tiny"), image(), image("two"), [0, 0.5, 1], settings=settings())
    assert same(by_noise, np.asarray(enlarge(make_grid(to_uint8(last.x0), columns=3))).astype(int))


def test_branch_says_where_it_left_the_walk(edit):
    _, result = edit("branch", "--sampler", "ddpm", "--at", "11", "--num-samples", "3")
    assert "from timestep 9" in result.err or "from timestep 14" in result.err


def test_invert_prints_the_round_trip(edit):
    found, result = edit("invert", "--image", "one.png", "--labels", "3", "--to", "5")
    assert "round trip: " in result.out
    assert found.shape[1] >= 480
    plain, _ = edit("invert", "--image", "one.png", "--labels", "3", "--to", "5", "--guidance-scale", "1")
    unguided, _ = edit("invert", "--image", "one.png", "--labels", "3", "--to", "5", "--guidance-scale", "0")
    assert same(found, plain)
    assert not same(found, unguided)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["blend", "--image", "one.png"], "give --image twice, or not at all"),
        (["blend", "--inverted"], "--inverted goes with two images, and with no --start"),
        (["branch", "--at", "5"], "adds no noise with these settings, so that all branches are one"),
        (["sketch", "--image", "one.png", "--out", "x.jpg"], "expected a name that ends in .png"),
        (["sketch", "--image", "none.png"], "does not exist"),
    ],
)
def test_what_cannot_be_edited_is_said_in_one_line(edit, cli, words, said):
    result = cli("edit", words[0], "--model", "tiny", *words[1:])
    assert result.code in (1, 2)
    assert said in result.err
    assert "Traceback" not in result.err
