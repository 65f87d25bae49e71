"""``push`` and ``pull``: models to and from the Hub."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from ..files import atomic_write
from ..hub import HubReference, publish, token_for
from ..layouts import layout_at
from ..models import RESULTS, load_model, pinned, resolve
from .options import model_option


@click.command("push")
@model_option(required=True)
@click.argument("repo", metavar="USER/REPO")
@click.option("--private", is_flag=True, help="Only for you to see; of a repo that is made by this.")
@click.option("--license", metavar="ID", help="What others may do with it, as the Hub abbreviates it: mit, cc-by-4.0.")
def push_command(reference: str, repo: str, private: bool, license: str | None) -> None:
    """Publish a model on the Hub: weights, config, evaluation, and a card with samples.

    The token is that of `hf auth login`, or HF_TOKEN.
    """
    from ..media.model_card import write_model_folder

    token_for(repo)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        click.echo(f"uploading to {repo}:", err=True)
        for path in write_model_folder(reference, folder, repo, license):
            click.echo(f"  {path.relative_to(folder)}  {path.stat().st_size:,} bytes", err=True)
        model = load_model(str(folder))
        url = publish(folder, repo, kind="model", private=private, message=f"Upload {model.config.name}")
    click.echo(url)
    click.echo(HubReference(repo, url.commit))


@click.command("pull")
@click.argument("reference", metavar="hf://USER/REPO[@REVISION]")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Also copy the files into this plain folder."
)
def pull_command(reference: str, out: Path | None) -> None:
    """Fetch a model from the Hub and check it; then it is there without a connection as well."""
    HubReference.parse(reference)
    reference = pinned(reference)
    model = load_model(reference)
    layout, folder = layout_at(resolve(reference))
    click.echo(f"{model.source}: its weights fit its config", err=True)
    if out:
        for name in (*layout.files, RESULTS):
            if (folder / name).is_file():
                with atomic_write(out / name) as temporary:
                    shutil.copyfile(folder / name, temporary)
    click.echo(out or folder)
    click.echo(f"sample it: python -m ddpm sample grid --model {out or reference}", err=True)
