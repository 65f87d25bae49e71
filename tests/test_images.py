"""Pictures for people: exact levels, exact pixels, and files that open again."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.media.images import (
    EPS_RANGE,
    GAP,
    Trajectory,
    best_columns,
    enlarge,
    gif_bytes,
    make_grid,
    mp4_bytes,
    npz_bytes,
    png_bytes,
    to_pil,
    to_uint8,
)
from ddpm.samplers import Step


def flat(levels, size=4, channels=1) -> torch.Tensor:
    """One uint8 image of a single grey level for each level."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, channels, size, size).contiguous()


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (-1, 0),
        (1, 255),
        (0, 128),
        (-5, 0),
        (5, 255),
        (0.5, 191),
        (-0.5, 64),
        (1 / 255, 128),
        (-1 / 255, 127),
        (0.996, 254),
    ],
)
def test_to_uint8_rounds_to_the_nearest_level_and_clamps(value, level):
    assert to_uint8(torch.tensor([value])).item() == level


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_to_uint8_takes_any_float_and_gradients(dtype):
    images = torch.tensor([-1.0, 0.25, 1.0], dtype=dtype, requires_grad=True)
    assert to_uint8(images).tolist() == [0, 159, 255]


def test_to_pil_keeps_every_pixel_and_channel():
    colour = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)
    assert np.array_equal(np.asarray(to_pil(colour)), colour.permute(1, 2, 0).numpy())
    grey = to_pil(colour[:1])
    assert grey.mode == "L"
    assert np.array_equal(np.asarray(grey), colour[0].numpy())


# -- grids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_is_laid_out_row_by_row_with_a_gap_around_every_image(channels):
    levels = [10, 20, 30, 40, 50]
    grid = np.asarray(make_grid(flat(levels, channels=channels), columns=3, gap=2))
    expected = np.full((2 + 2 * 6, 2 + 3 * 6), GAP)
    for k, level in enumerate(levels):
        top, left = 2 + 6 * (k // 3), 2 + 6 * (k % 3)
        expected[top : top + 4, left : left + 4] = level
    assert grid.ndim == (2 if channels == 1 else 3)
    for channel in range(channels):
        assert np.array_equal(grid if channels == 1 else grid[..., channel], expected)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (4, 2), (10, 5), (16, 4), (17, 5), (20, 10), (64, 8), (100, 10)]
)
def test_best_columns(count, columns):
    assert best_columns(count) == columns


def test_a_single_image_is_a_grid_of_one():
    grid = np.asarray(make_grid(flat([77])))
    assert (grid[2:6, 2:6] == 77).all()


@pytest.mark.parametrize("size", [(10, 10), (33, 21), (7, 500), (239, 3)])
def test_enlarging_repeats_pixels_by_an_even_factor(size):
    image = Image.effect_noise(size, 80)
    large = enlarge(image, at_least=480)
    factor = large.width // image.width
    assert factor % 2 == 0
    assert max(large.size) >= 480 > max(large.size) - 2 * max(size)
    assert np.array_equal(np.asarray(large), np.asarray(image).repeat(factor, 0).repeat(factor, 1))


# -- trajectories --------------------------------------------------------------------------------------------------


def steps(num_steps: int, n: int = 2):
    """x_t and x0 that tell which step they are of."""
    for index in range(num_steps + 1):
        level = index / 127.5 - 1
        x_t = torch.full((n, 1, 4, 4), level)
        yield Step(index, num_steps - 1 - index, x_t, -x_t, torch.ones_like(x_t))


@pytest.mark.parametrize(
    ("num_steps", "max_frames", "kept"), [(1, 101, 2), (10, 101, 11), (100, 101, 101), (200, 101, 101), (99, 7, 7)]
)
def test_a_trajectory_keeps_both_ends_and_is_thinned_evenly(num_steps, max_frames, kept):
    trajectory = Trajectory.from_steps(steps(num_steps), num_steps, max_frames)
    indices = [num_steps - 1 - t for t in trajectory.timesteps]
    assert (len(indices), indices[0], indices[-1]) == (kept, 0, num_steps)
    gaps = np.diff(indices)
    assert gaps.max() - gaps.min() <= 1
    assert trajectory.x_t[:, 0, 0, 0, 0].tolist() == indices
    assert trajectory.x0[:, 0, 0, 0, 0].tolist() == [255 - index for index in indices]
    assert trajectory.eps.unique().tolist() == [round((1 / EPS_RANGE + 1) * 127.5)]
    torch.testing.assert_close(trajectory.change[:-1], torch.full((kept - 1, 2), 1 / 127.5))
    assert trajectory.change[-1].tolist() == [0, 0]
    assert torch.equal(trajectory.images, trajectory.x0[-1])
    assert torch.equal(trajectory.first(1).x_t, trajectory.x_t[:, :1])


def test_a_strip_has_a_row_of_x_t_and_a_row_of_x0_for_every_image():
    trajectory = Trajectory.from_steps(steps(10), 10)
    strip = np.asarray(trajectory.strip(frames=6))
    factor = strip.shape[0] // (2 + 4 * 6)
    centres = strip[4 * factor :: 6 * factor, 4 * factor :: 6 * factor]
    x_t = [0, 2, 4, 6, 8, 10]
    assert centres.tolist() == [x_t, [255 - v for v in x_t]] * 2


def test_chosen_frames_come_in_the_order_of_time():
    trajectory = Trajectory.from_steps(steps(10), 10)
    chosen = trajectory.at([10, 0, 3])
    assert chosen.timesteps == [9, 6, -1]
    for part in ("x_t", "x0", "eps", "change"):
        assert torch.equal(getattr(chosen, part), getattr(trajectory, part)[[0, 3, 10]])


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def frames():
    """Six different frames of 12 x 8."""
    return [Image.new("L", (12, 8), 40 * k) for k in range(6)]


def test_png_opens_again_without_loss():
    image = Image.effect_noise((11, 7), 80)
    again = Image.open(io.BytesIO(png_bytes(image)))
    assert again.format == "PNG"
    assert np.array_equal(np.asarray(again), np.asarray(image))


@pytest.mark.parametrize(("fps", "milliseconds"), [(12, 80), (25, 40), (5, 200)])
def test_gif_has_all_frames_loops_and_holds_the_result(frames, fps, milliseconds):
    gif = Image.open(io.BytesIO(gif_bytes(frames, fps)))
    assert (gif.n_frames, gif.size, gif.info["loop"]) == (6, (12, 8), 0)
    durations = []
    for k, frame in enumerate(frames):
        gif.seek(k)
        durations.append(gif.info["duration"])
        assert np.array_equal(np.asarray(gif.convert("L")), np.asarray(frame))
    assert durations == [milliseconds] * 5 + [2000]


@pytest.mark.parametrize("fps", [12, 24, 30, 50, 60])
def test_no_browser_slows_a_fast_gif_down(frames, fps):
    """Browsers play a frame of 10 ms or less for 100 ms."""
    gif = Image.open(io.BytesIO(gif_bytes(frames, fps)))
    assert gif.info["duration"] >= 20


def test_gif_of_one_frame_and_of_equal_frames_lasts_as_long(frames):
    assert Image.open(io.BytesIO(gif_bytes(frames[:1]))).size == (12, 8)
    gif, total = Image.open(io.BytesIO(gif_bytes([frames[0]] * 4, fps=10))), 0
    for k in range(gif.n_frames):
        gif.seek(k)
        total += gif.info["duration"]
    assert total == 3 * 100 + 2000


@pytest.mark.parametrize("fps", [12, 30])
def test_mp4_has_all_frames_the_size_and_holds_the_result(fps, decode_mp4):
    frames = [enlarge(Image.new("L", (9, 7), 40 * k), at_least=30) for k in range(6)]
    decoded, rate = decode_mp4(mp4_bytes(frames, fps))
    assert decoded.shape == (6 + 2 * fps, frames[0].height, frames[0].width, 3)
    assert rate == pytest.approx(fps)
    for k in range(6):
        assert abs(decoded[k].astype(float).mean() - 40 * k) < 3
    assert np.abs(decoded[-1].astype(float) - 200).max() < 6


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_holds_channels_last_images_and_labels(channels):
    images = torch.randint(0, 256, (3, channels, 4, 5), dtype=torch.uint8)
    names = ["cat", "dog", "eel", "fox", "gnu"]
    archive = np.load(io.BytesIO(npz_bytes(images, [4, -1, 0], names)), allow_pickle=False)
    assert sorted(archive.files) == ["class_names", "images", "labels"]
    assert archive["class_names"].tolist() == names
    assert archive["images"].dtype == np.uint8
    assert np.array_equal(archive["images"], images.permute(0, 2, 3, 1).numpy())
    assert archive["labels"].dtype == np.int64
    assert archive["labels"].tolist() == [4, -1, 0]
