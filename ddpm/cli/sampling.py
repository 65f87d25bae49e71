"""``sample grid`` and ``sample traj``."""

from __future__ import annotations

import sys

import click

from ..config.edit import sampling_settings
from ..device import PRECISIONS
from ..files import RunFolder, write_bytes
from ..models import load_model, repeat_labels
from ..samplers import SAMPLERS
from ..sampling import Guide, generate, sample
from .options import (
    SamplingCommand,
    UserPath,
    check_suffix,
    default_name,
    indices_of,
    labels_of,
    ladder_options,
    model_options,
    numbers,
    open_model,
)

indices_option = click.option(
    "--indices", metavar="0,1,66", help="Which images of the seed's endless set.  [default: the first --num-samples]"
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", *PRECISIONS]),
    default="fp32",
    help="Of the network; auto takes one that is fast on the device. fp32 gives the same images on most machines.",
)


@click.group("sample")
def sample_group() -> None:
    """Generate images."""


@sample_group.command("grid", cls=SamplingCommand)
@model_options
@precision_option
@click.option("--num-samples", type=click.IntRange(1), default=64, help="How many images.")
@indices_option
@click.option("--guide", metavar="REF", help="A weaker version of the model for autoguidance, such as an early average "
              "of its run.")  # fmt: skip
@click.option("--guide-scale", type=click.FloatRange(0, 20), default=2.0, help="How far away from the guide; 1 is off.")
@click.option("--out", type=UserPath(), help="The PNG to write.  [default: in the model's output folder]")
@click.option(
    "--npz",
    type=UserPath(),
    help="Also write arrays images uint8 (N,H,W,C), labels (N,) and class_names.",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Images per batch.")
@click.option(
    "--compile", "compiled", is_flag=True, help="Compile the network first: takes minutes, for many images on a GPU."
)
def sample_grid(
    reference, config, device, labels, seed, precision, num_samples, indices, guide, guide_scale, out, npz,
    batch_size, compiled, **given,
):  # fmt: skip
    """Write a grid of generated images."""
    from ..media.images import enlarge, make_grid, npz_bytes, png_bytes, to_uint8

    check_suffix("--out", out, ".png")
    check_suffix("--npz", npz, ".npz")
    model = open_model(reference, config, device)
    model = model.compiled() if compiled else model
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    wanted = indices_of(indices, num_samples)
    led = Guide(load_model(guide, device), guide_scale) if guide else None
    with click.progressbar(length=len(wanted), label="sampling", file=sys.stderr) as bar:
        images = to_uint8(
            generate(
                model, len(wanted), labels=chosen, settings=settings, seed=seed, indices=wanted, guide=led,
                precision=precision, batch_size=batch_size, on_batch=lambda done: bar.update(done - bar.pos),
            )
        )  # fmt: skip
    out = out or RunFolder.named(model.config.name).grid(default_name("samples", settings, seed, len(wanted)))
    write_bytes(out, png_bytes(enlarge(make_grid(images))))
    click.echo(out)
    if npz:
        write_bytes(npz, npz_bytes(images, repeat_labels(chosen, wanted), model.class_names))
        click.echo(npz)


@sample_group.command("ladder")
@ladder_options
@click.option("--num-samples", type=click.IntRange(1), default=16, help="How many images to compare.")
@click.option("--steps", "columns", metavar="5,10,20", help="Steps to compare.  [default: 5, 10, 20, ... up to T]")
@click.option("--budgets", metavar="5,10,20", help="Instead of steps: at most this many network evaluations per image.")
@click.option("--out", type=UserPath(), help="The PNG to write.  [default: in the model's folder]")
def sample_ladder(reference, config, device, labels, seed, num_samples, columns, budgets, out, **given):
    """Compare samplers: the same noise with few steps and with many, each beside DDIM with all steps.

    Prints a Markdown table and writes a chart of PSNR to DDIM with all steps, over network evaluations.
    """
    from ..evaluation.ladder import STEPS, Climbed, climb, closeness, reference_rung, rungs, within
    from ..media.drawers import save_chart
    from ..media.figures import ladder_chart

    check_suffix("--out", out, ".png")
    if columns and budgets:
        raise click.UsageError("give either --steps or --budgets")
    model = open_model(reference, config, device)
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    total = model.schedule.num_timesteps
    if budgets:
        plan = [rung for budget in numbers("--budgets", budgets) for rung in within(budget, model)]
        plan = [*dict.fromkeys(plan), reference_rung(total)]
    else:
        plan = rungs(total, steps=numbers("--steps", columns) if columns else STEPS)
    done = []
    with click.progressbar(length=sum(rung.num_steps for rung in plan), label="climbing", file=sys.stderr) as bar:
        for event in climb(model, plan, num_samples, labels=chosen, settings=settings, seed=seed):
            if isinstance(event, Climbed):
                done.append(event)
            finished = sum(each.rung.num_steps for each in done)
            under_way = 0 if isinstance(event, Climbed) else event.share * event.rung.num_steps
            bar.update(int(finished + under_way) - bar.pos)
    results = [(climbed, closeness(climbed, done[-1])) for climbed in done]
    click.echo(f"PSNR to DDIM with {total:,} steps, dB, mean of {num_samples} images and 95 % interval\n")
    click.echo("| sampler | steps | evaluations | PSNR | s an image |\n|---|---|---|---|---|")
    for climbed, near in results[:-1]:
        click.echo(
            f"| {SAMPLERS[climbed.rung.sampler].label} | {climbed.rung.num_steps} | {climbed.evaluations} | "
            f"{near.psnr:.2f} ± {near.ci95:.2f} | {climbed.seconds / num_samples:.3f} |"
        )
    out = out or RunFolder.named(model.config.name).grid(f"ladder_{num_samples}_seed{seed}")
    save_chart(ladder_chart(results[:-1]), out)
    click.echo(out)


@sample_group.command("traj", cls=SamplingCommand)
@model_options
@precision_option
@click.option("--num-samples", type=click.IntRange(1, 256), default=16, help="How many images.")
@indices_option
@click.option("--fps", type=click.FloatRange(1, 60), default=12, help="Frames per second.")
@click.option(
    "--out",
    type=UserPath(),
    help="The .gif, .mp4 or .png (a strip of frames) to write.  [default: a GIF in the model's output folder]",
)
def sample_traj(reference, config, device, labels, seed, precision, num_samples, indices, fps, out, **given):
    """Write an animation of the way from noise to image."""
    from ..media.images import ANIMATIONS, Trajectory, png_bytes

    check_suffix("--out", out, *ANIMATIONS, ".png")
    model = open_model(reference, config, device)
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    wanted = indices_of(indices, num_samples)
    steps = sample(model, labels=chosen, settings=settings, seed=seed, indices=wanted, precision=precision)
    with click.progressbar(steps, length=settings.num_steps + 1, label="sampling", file=sys.stderr) as progress:
        trajectory = Trajectory.from_steps(progress, settings.num_steps)
    name = default_name("trajectory", settings, seed, len(wanted))
    out = out or RunFolder.named(model.config.name).animation(f"{name}.gif")
    encode = ANIMATIONS.get(out.suffix.lower())
    write_bytes(out, encode(trajectory.grids(), fps) if encode else png_bytes(trajectory.strip()))
    click.echo(out)
