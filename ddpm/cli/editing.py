"""``edit``: sketch, inpaint, blend, branch, invert."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from .. import editing
from ..config.edit import sampling_settings
from ..config.sections import SamplingConfig
from ..data import to_float
from ..errors import DataError
from ..files import RunFolder, write_bytes
from ..image_folder.decode import read_image
from ..media.strokes import Stroke, mask_of, read_strokes, sketch_of
from ..models import Model
from ..randomness import ImageNoise, NoiseBetween
from ..samplers import Step
from ..sampling import sample
from .options import SamplingCommand, UserPath, check_suffix, editing_options, labels_of, open_model


class Drawn(UserPath):
    """A file, or strokes as text."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        try:
            return read_strokes(value)
        except DataError:
            return super().convert(value, parameter, context)


image_option = click.option("--image", type=UserPath(exists=True, dir_okay=False), required=True,
                            help="An image file; it is cropped to a square and scaled.")  # fmt: skip
negative_option = click.option("--negative", is_flag=True, help="Turn dark on light into light on dark, as MNIST is.")
out_option = click.option("--out", type=UserPath(), help="The PNG to write.  [default: in the model's output folder]")
count_option = click.option("--num-samples", type=click.IntRange(1, 256), default=4, help="How many answers.")


@click.group("edit")
def edit_group() -> None:
    """Put something of your own in: sketches, masks, blends, branches, inversions."""


@edit_group.command("sketch", cls=SamplingCommand)
@editing_options
@click.option("--image", type=Drawn(exists=True, dir_okay=False), metavar="FILE|STROKES", required=True,
              help="An image file; or strokes as the Draw page has them: 60:120,400;130,410.")  # fmt: skip
@negative_option
@click.option("--strength", type=click.FloatRange(0, 1), default=editing.STRENGTH,
              help="From 0, which keeps the sketch, to 1, which forgets it.")  # fmt: skip
@count_option
@out_option
def sketch_command(
    reference, config, device, labels, seed, image, negative, strength, num_samples, out, **given
):  # fmt: skip
    """Make images of a sketch, by noising and denoising it (SDEdit)."""
    model, settings, chosen = _opened(reference, config, device, labels, given, out)
    sketch = _read(image, model, negative).expand(num_samples, -1, -1, -1)
    steps = editing.sketch(model, sketch, strength, labels=chosen, settings=settings, seed=seed)
    _write(model, _images(steps, settings.num_steps), out, f"sketch_seed{seed}")


@edit_group.command("inpaint", cls=SamplingCommand)
@editing_options
@image_option
@negative_option
@click.option("--mask", type=Drawn(exists=True, dir_okay=False), metavar="FILE|STROKES", required=True,
              help="An image file, light where the image is to be made anew; or strokes.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1, 100), default=1,
              help="How often each step is taken (RePaint); above 1 the new part fits the old better.")  # fmt: skip
@count_option
@out_option
def inpaint_command(
    reference, config, device, labels, seed, image, negative, mask, repeats, num_samples, out, **given
):  # fmt: skip
    """Make a part of an image anew; the rest stays exactly."""
    model, settings, chosen = _opened(reference, config, device, labels, given, out)
    images = _read(image, model, negative).expand(num_samples, -1, -1, -1)
    size = model.config.data.image_size
    painted = mask_of(mask, size) if isinstance(mask, list) else read_image(mask, size, 1, str(mask))[None] >= 128
    steps = editing.inpaint(
        model, images, painted, repeats=repeats, labels=chosen, settings=settings, seed=seed
    )  # fmt: skip
    _write(model, _images(steps, settings.num_steps), out, f"inpaint_{image.stem}_seed{seed}")


@edit_group.command("blend", cls=SamplingCommand)
@editing_options
@click.option("--image", "images", type=UserPath(exists=True, dir_okay=False), multiple=True,
              help="Twice: the images to blend. Without, the first images of two seeds.")  # fmt: skip
@negative_option
@click.option("--to-seed", type=int, default=1, help="The other seed, without images.")
@click.option("--start", type=click.IntRange(0), help="Timestep at which images are blended.  [default: T / 2]")
@click.option("--inverted", is_flag=True, help="Blend the noise that DDIM makes each image of, in place of a timestep.")
@click.option("--frames", type=click.IntRange(2, 101), default=11, help="Images from the one end to the other.")
@click.option("--out", type=UserPath(), help="The .png, .gif or .mp4 to write.  [default: a PNG in the model's folder]")
def blend_command(
    reference, config, device, labels, seed, images, negative, to_seed, start, inverted, frames, out, **given
):  # fmt: skip
    """Blend two images at a timestep or by the noise that makes them, or the noise of two seeds."""
    from ..media.images import ANIMATIONS, enlarge, make_grid, png_bytes, to_uint8

    if len(images) not in (0, 2):
        raise click.UsageError("give --image twice, or not at all to blend two seeds")
    if inverted and (start is not None or not images):
        raise click.UsageError("--inverted goes with two images, and with no --start")
    model, settings, chosen = _opened(reference, config, device, labels, given, out, *ANIMATIONS)
    shares = torch.linspace(0, 1, frames).tolist()
    count, ends = settings.num_steps, [_read(image, model, negative) for image in images]
    if inverted:
        steps, count = editing.blend_inverted(model, *ends, shares, labels=chosen, settings=settings), 2 * count + 1
    elif images:
        start = model.schedule.num_timesteps // 2 if start is None else start
        steps = editing.blend(model, *ends, shares, start, labels=chosen, settings=settings, seed=seed)
    else:
        noise = NoiseBetween(*(ImageNoise(each, [0], model.config.image_shape, device) for each in (seed, to_seed)),
                             shares)  # fmt: skip
        steps = sample(model, frames, labels=chosen, settings=settings, noise=noise)
    blended = to_uint8(_images(steps, count))
    out = out or RunFolder.named(model.config.name).grid(f"blend_seed{seed}")
    if encode := ANIMATIONS.get(out.suffix.lower()):
        movie = [enlarge(make_grid(each[None], gap=0), 256) for each in blended]
        write_bytes(out, encode([*movie, *movie[-2:0:-1]]))
    else:
        write_bytes(out, png_bytes(enlarge(make_grid(blended, columns=frames))))
    click.echo(out)


@edit_group.command("branch", cls=SamplingCommand)
@editing_options
@click.option("--at", type=click.IntRange(0), required=True, help="Timestep of the walk from which the branches go on.")
@click.option("--num-samples", type=click.IntRange(1, 256), default=8, help="How many branches.")
@out_option
def branch_command(reference, config, device, labels, seed, at, num_samples, out, **given):
    """Go on from one state of the first image's walk, with fresh noise for each branch."""
    model, settings, chosen = _opened(reference, config, device, labels, given, out)
    chosen = chosen and chosen[:1]
    walk = sample(model, 1, labels=chosen, settings=settings, seed=seed)
    root = min(walk, key=lambda step: abs(step.t - at) if step.t >= 0 else model.schedule.num_timesteps)
    click.echo(f"from timestep {root.t}", err=True)
    left = len([t for t in _visited(model, settings) if t <= root.t])
    settings = settings.model_copy(update={"num_steps": left})
    steps = editing.branch(model, root.x_t, root.t, num_samples, labels=chosen, settings=settings, seed=seed + 1)
    _write(model, _images(steps, left), out, f"branch_t{root.t}_seed{seed}")


@edit_group.command("invert", cls=SamplingCommand)
@editing_options
@image_option
@negative_option
@click.option("--rounds", type=click.IntRange(1, 100), default=editing.INVERSION_ROUNDS,
              help="Evaluations for each step back; more come nearer to the noise that makes the image.")  # fmt: skip
@click.option(
    "--to", "other", metavar="dog", help="Draw the same noise as this class too, at --guidance-scale if it is given."
)
@out_option
def invert_command(reference, config, device, labels, seed, image, negative, rounds, other, out, **given):
    """Find the noise that DDIM makes an image of, and draw it: the image, what comes back, the image as another class.

    Prints the PSNR of the round trip.
    """
    from ..evaluation.calibration import psnr

    model, settings, chosen = _opened(reference, config, device, labels, given, out)
    original, plain = _read(image, model, negative), editing.redrawing(settings)
    walk = editing.invert(model, original, labels=chosen, settings=settings, rounds=rounds)
    noise = list(walk)[-1].x_t
    shown = [original]
    scale = given.get("guidance_scale")
    guided = plain.model_copy(update={"guidance_scale": 1.0 if scale is None else scale})
    for wanted, how in ((chosen, plain), *([(labels_of(model, other), guided)] if other else [])):
        steps = sample(model, 1, labels=wanted, settings=how, noise=lambda: noise)
        shown.append(_images(steps, plain.num_steps))
    click.echo(f"round trip: {psnr(shown[1].clamp(-1, 1), original).item():.1f} dB")
    _write(model, torch.cat(shown), out, f"invert_{image.stem}")


def _opened(
    reference: str | None, config: Path | None, device: str, labels: str | None, given: dict, out: Path | None,
    *suffixes: str,
) -> tuple[Model, SamplingConfig, list[int] | None]:  # fmt: skip
    check_suffix("--out", out, ".png", *suffixes)
    model = open_model(reference, config, device)
    chosen = None if labels is None else labels_of(model, labels)
    return model, sampling_settings(model.config, **given), chosen


def _visited(model: Model, settings: SamplingConfig) -> list[int]:
    from ..spacing import spaced_timesteps

    return spaced_timesteps(model.schedule.num_timesteps, settings.num_steps, settings.spacing)


def _read(drawn: Path | list[Stroke], model: Model, negative: bool) -> Tensor:
    data = model.config.data
    if isinstance(drawn, list):
        pixels = sketch_of(drawn, data.image_size, data.channels)
    else:
        pixels = to_float(read_image(drawn, data.image_size, data.channels, str(drawn))[None])
    return -pixels if negative else pixels


def _images(steps: Iterator[Step], num_steps: int) -> Tensor:
    """The finished images, with a progress bar."""
    with click.progressbar(steps, length=num_steps + 1, label="sampling", file=sys.stderr) as progress:
        for step in progress:
            last = step.x0
    return last.clamp(-1, 1).cpu()


def _write(model: Model, images: Tensor, out: Path | None, name: str) -> None:
    from ..media.images import enlarge, make_grid, png_bytes, to_uint8

    out = out or RunFolder.named(model.config.name).grid(name)
    write_bytes(out, png_bytes(enlarge(make_grid(to_uint8(images)))))
    click.echo(out)
