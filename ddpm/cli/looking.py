"""``viz``, ``models`` and ``export``."""

from __future__ import annotations

from pathlib import Path

import click

from ..config import load_config
from ..files import output_dir, write_bytes
from ..models import export_model, shipped_models, trained_runs
from ..schedule import SCHEDULES, make_schedule
from .options import check_suffix


@click.group("viz")
def viz_group() -> None:
    """Draw figures."""


@viz_group.command("schedules")
@click.option("--schedules", default=",".join(SCHEDULES), help="Names, separated by commas.")
@click.option("--num-timesteps", type=click.IntRange(2), default=1000, help="T.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The .png, .svg or .pdf to write.  [default: curves/schedules.png in the output folder]",
)
def viz_schedules(schedules: str, num_timesteps: int, out: Path | None) -> None:
    """Draw beta, alpha_bar and log-SNR of the noise schedules."""
    from ..media.figures import save_schedules

    out = out or output_dir() / "curves" / "schedules.png"
    check_suffix("--out", out, ".png", ".svg", ".pdf")
    save_schedules({name: make_schedule(name, num_timesteps) for name in schedules.split(",")}, out)
    click.echo(out)


@viz_group.command("curves")
@click.option("--log-dir", type=click.Path(path_type=Path), required=True, help="A run's logs folder.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write into.  [default: curves beside it]")
def viz_curves(log_dir: Path, out: Path | None) -> None:
    """Draw the training curves of a run."""
    from ..media.figures import save_curves
    from ..training.history import read_history

    for path in save_curves(read_history(log_dir / "training_metrics.jsonl"), out or log_dir.parent / "curves"):
        click.echo(path)


@viz_group.command("dataset")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), required=True, help="A YAML such as configs/mnist.yaml."
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test")
@click.option("--num-samples", type=click.IntRange(1), default=100, help="How many images, the classes in turn.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
def viz_dataset(path: Path, split: str, num_samples: int, out: Path) -> None:
    """Draw the first images of a dataset, laid out as `sample grid` does."""
    from ..data import class_by_class, load_dataset
    from ..media.images import enlarge, make_grid, png_bytes

    images = class_by_class(load_dataset(load_config(path).data, split), num_samples)
    write_bytes(out, png_bytes(enlarge(make_grid(images.images))))
    click.echo(out)


@click.command("export")
@click.option("--model", "reference", metavar="REF", required=True, help="Shipped name, run:NAME or path.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write into.")
def export_command(reference: str, out: Path) -> None:
    """Write a model's averaged weights as model.safetensors with its config.yaml."""
    click.echo(export_model(reference, out))
    click.echo(f"sample it: python -m ddpm sample grid --model {out}", err=True)


@click.command("models")
def models_command() -> None:
    """List the models that can be sampled."""
    for name in shipped_models():
        click.echo(f"{name}  (shipped)")
    for name in trained_runs():
        click.echo(f"run:{name}")
