"""Images for people: grids, trajectories, PNG, GIF and MP4. Enlarging is always nearest-neighbour."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..samplers import Step

RECIPE = "ddpm"  # the keyword of a PNG's text
GAP = 128  # grey level between the images of a grid: a quiet line on a light page and on a dark one


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to uint8 0..255 on the CPU, clamped and rounded."""
    return ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_pil(image: Tensor) -> Image.Image:
    """One uint8 image (C, H, W), C = 1 or 3."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def best_columns(count: int) -> int:
    """Columns of a grid of ``count`` images: ten (five for ten) where that fills the rows, else near a square."""
    if count % 10 == 0:
        return 5 if count == 10 else 10
    return math.ceil(math.sqrt(count))


def make_grid(images: Tensor, columns: int | None = None, gap: int = 2) -> Image.Image:
    """A grid of uint8 images (N, C, H, W), row by row."""
    from ..torchvision_cpu import utils

    grid = utils.make_grid(images, nrow=columns or best_columns(len(images)), padding=gap, pad_value=GAP)
    return to_pil(grid[: images.shape[1]])  # torchvision turns grey into three equal channels


def enlarge(image: Image.Image, at_least: int = 480) -> Image.Image:
    """Scale by a whole, even number, so that the longer side is ``at_least`` pixels (and MP4 gets even sides)."""
    factor = 2 * math.ceil(at_least / max(image.size) / 2)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


EPS_RANGE = 3.0  # standard deviations of the noise that a trajectory keeps


@dataclass(frozen=True)
class Trajectory:
    """Recorded frames of the reverse process, for N images.

    ``timesteps`` has F entries, falling to -1; ``x_t``, ``x0`` and ``eps`` are uint8 (F, N, C, H, W), the noise within
    ± ``EPS_RANGE``. ``change`` (F, N) is the root mean square over pixels of what the sampler's step from this frame
    adds to x_t, 0 at the last.
    """

    timesteps: list[int]
    x_t: Tensor
    x0: Tensor
    eps: Tensor
    change: Tensor

    @classmethod
    def from_steps(cls, steps: Iterable[Step], num_steps: int, max_frames: int = 101) -> Trajectory:
        """Record ``steps``, of which there are num_steps + 1, thinned evenly to ``max_frames`` with both ends kept."""
        count = min(num_steps + 1, max_frames)
        wanted = {round(i * num_steps / max(1, count - 1)) for i in range(count)} | {num_steps}
        timesteps, pictures, changes = [], [], []
        for step, after in pairwise(chain(steps, [None])):
            if step.index in wanted:
                timesteps.append(step.t)
                pictures.append(torch.stack([to_uint8(step.x_t), to_uint8(step.x0), to_uint8(step.eps / EPS_RANGE)]))
                difference = after.x_t - step.x_t if after else torch.zeros_like(step.x_t)
                changes.append(difference.float().flatten(1).square().mean(1).sqrt().cpu())
        return cls(timesteps, *torch.stack(pictures, 1), torch.stack(changes))

    def first(self, count: int) -> Trajectory:
        """The trajectory of the first ``count`` images alone."""
        values = (self.x_t, self.x0, self.eps, self.change)
        return Trajectory(self.timesteps, *(value[:, :count] for value in values))

    def at(self, frames: Sequence[int]) -> Trajectory:
        """These frames of the trajectory alone, in the order of time."""
        chosen, values = sorted(frames), (self.x_t, self.x0, self.eps, self.change)
        return Trajectory([self.timesteps[k] for k in chosen], *(value[chosen] for value in values))

    @property
    def images(self) -> Tensor:
        """The finished images, uint8 (N, C, H, W)."""
        return self.x0[-1]

    def grids(self) -> list[Image.Image]:
        """Every frame's x_t as an enlarged grid; noise does not compress, so no larger than it has to be."""
        return [enlarge(make_grid(frame), at_least=256) for frame in self.x_t]

    def strip(self, frames: int = 11) -> Image.Image:
        """``frames`` moments from noise to image, evenly spaced: for every image a row of x_t above one of x0."""
        chosen = np.linspace(0, len(self.timesteps) - 1, min(frames, len(self.timesteps))).round().astype(int).tolist()
        shown = self.at(chosen)
        rows = torch.stack([shown.x_t, shown.x0]).permute(2, 0, 1, 3, 4, 5)  # image, x_t or x0, moment
        return enlarge(make_grid(rows.flatten(0, 2), columns=len(chosen)), at_least=960)


def png_bytes(image: Image.Image, recipe: str = "") -> bytes:
    """A PNG, with a ``recipe`` as from ``ddpm.media.recipe`` in its text."""
    buffer, text = io.BytesIO(), PngInfo()
    if recipe:
        text.add_itxt(RECIPE, recipe)
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def gif_bytes(frames: Sequence[Image.Image], fps: float = 12, recipe: str = "") -> bytes:
    """A looping GIF, with a ``recipe`` as its comment; its last frame, the result, stays for two seconds."""
    # GIF counts in hundredths of a second, and browsers play a frame of 10 ms or less for 100 ms.
    durations = [max(20, round(1000 / fps))] * (len(frames) - 1) + [2000]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0,
                   comment=recipe.encode())  # fmt: skip
    return buffer.getvalue()


def mp4_bytes(frames: Sequence[Image.Image], fps: float = 12, recipe: str = "") -> bytes:
    """An H.264 MP4, with a ``recipe`` as its comment; its last frame, the result, stays for two seconds. Frames need
    even sides, as ``enlarge`` gives."""
    import imageio.v3 as iio

    held = [*frames, *[frames[-1]] * round(2 * fps)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.mp4"
        stacked = np.stack([np.asarray(frame.convert("RGB")) for frame in held])
        # macro_block_size 2: the encoder needs even sides; its default of 16 would rescale and blur the pixels.
        iio.imwrite(path, stacked, fps=fps, codec="libx264", macro_block_size=2, ffmpeg_log_level="error",
                    output_params=["-metadata", f"comment={recipe}"])  # fmt: skip
        return path.read_bytes()


def npz_bytes(images: Tensor, labels: Sequence[int], class_names: Sequence[str] = ()) -> bytes:
    """``images`` uint8 (N, H, W, C), ``labels`` int64 (N,), -1 where unconditional, and ``class_names`` (K,), those of
    the labels 0 to K - 1, as a compressed NPZ."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, images=images.permute(0, 2, 3, 1).numpy(), labels=np.asarray(labels, dtype=np.int64),
        class_names=np.asarray(class_names, dtype=str),
    )  # fmt: skip
    return buffer.getvalue()


ANIMATIONS = {".gif": gif_bytes, ".mp4": mp4_bytes}
