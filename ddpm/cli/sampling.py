"""``sample grid`` and ``sample traj``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..config import sampling_settings
from ..files import RunFolder, write_bytes
from ..models import repeat_labels
from ..sampling import generate, sample
from .options import check_suffix, default_name, indices_of, labels_of, model_options, open_model

indices_option = click.option(
    "--indices", metavar="0,1,66", help="Which images of the seed's endless set.  [default: the first --num-samples]"
)


@click.group("sample")
def sample_group() -> None:
    """Generate images."""


@sample_group.command("grid")
@model_options
@click.option("--num-samples", type=click.IntRange(1), default=64, help="How many images.")
@indices_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="The PNG to write.  [default: in the model's output folder]"
)
@click.option(
    "--npz", type=click.Path(path_type=Path), help="Also write arrays images uint8 (N,H,W,C) and labels (N,)."
)
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Images at once.")
def sample_grid(reference, config, device, labels, seed, num_samples, indices, out, npz, batch_size, **given):
    """Write a grid of generated images."""
    from ..media.images import enlarge, make_grid, npz_bytes, png_bytes, to_uint8

    check_suffix("--out", out, ".png")
    check_suffix("--npz", npz, ".npz")
    model = open_model(reference, config, device)
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    wanted = indices_of(indices, num_samples)
    with click.progressbar(length=len(wanted), label="sampling", file=sys.stderr) as bar:
        images = to_uint8(
            generate(
                model, len(wanted), labels=chosen, settings=settings, seed=seed, indices=wanted, batch_size=batch_size,
                on_batch=lambda done: bar.update(done - bar.pos),
            )
        )  # fmt: skip
    out = out or RunFolder.named(model.config.name).grid(default_name("samples", settings, seed, len(wanted)))
    write_bytes(out, png_bytes(enlarge(make_grid(images))))
    click.echo(out)
    if npz:
        write_bytes(npz, npz_bytes(images, repeat_labels(chosen, wanted)))
        click.echo(npz)


@sample_group.command("traj")
@model_options
@click.option("--num-samples", type=click.IntRange(1, 256), default=16, help="How many images.")
@indices_option
@click.option("--fps", type=click.FloatRange(1, 60), default=12, help="Frames per second.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The .gif, .mp4 or .png (a strip of frames) to write.  [default: a GIF in the model's output folder]",
)
def sample_traj(reference, config, device, labels, seed, num_samples, indices, fps, out, **given):
    """Write the way from noise to image as an animation."""
    from ..media.images import ANIMATIONS, Trajectory, png_bytes

    check_suffix("--out", out, *ANIMATIONS, ".png")
    model = open_model(reference, config, device)
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    wanted = indices_of(indices, num_samples)
    steps = sample(model, labels=chosen, settings=settings, seed=seed, indices=wanted)
    with click.progressbar(steps, length=settings.num_steps + 1, label="sampling", file=sys.stderr) as progress:
        trajectory = Trajectory.from_steps(progress, settings.num_steps)
    name = default_name("trajectory", settings, seed, len(wanted))
    out = out or RunFolder.named(model.config.name).animation(f"{name}.gif")
    encode = ANIMATIONS.get(out.suffix.lower())
    write_bytes(out, encode(trajectory.grids(), fps) if encode else png_bytes(trajectory.strip()))
    click.echo(out)
