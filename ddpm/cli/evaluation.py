"""``eval``."""

from __future__ import annotations

from pathlib import Path

import click

from ..config import load_config, sampling_settings
from ..files import RunFolder, write_text
from ..models import reference_of
from .options import model_options, open_model


@click.command("eval")
@model_options
@click.option("--num-samples", type=click.IntRange(2), default=500, help="Samples to judge, classes balanced.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The JSON to write.  [default: in the model's output folder]"
)
def eval_command(reference, config, device, labels, seed, num_samples, out, **given):
    """Measure a model: calibration on the test set, and samples judged by the classifier."""
    import json

    from ..evaluation.evaluate import evaluate

    if labels is not None:
        raise click.UsageError("eval takes no --labels: it asks for every class equally often")
    reference = reference or (reference_of(load_config(config)) if config else None)
    model = open_model(reference, None, device)
    results = evaluate(
        model, reference, settings=sampling_settings(model.config, **given), num_samples=num_samples, seed=seed,
        on_progress=lambda text: click.echo(text, err=True),
    )  # fmt: skip
    out = out or RunFolder.named(model.config.name).evaluation
    write_text(out, json.dumps(results, indent=2, allow_nan=False) + "\n")
    click.echo(json.dumps(results["samples"], indent=2), err=True)
    click.echo(out)
