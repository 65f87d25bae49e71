"""``space``."""

from __future__ import annotations

from pathlib import Path

import click

from ..files import size_text


@click.command("space")
@click.argument("repo_id", metavar="USER/NAME")
@click.option("--model", "reference", metavar="REF", required=True, help="The model it shows: as everywhere.")
@click.option("--out", type=click.Path(path_type=Path), help="Only build the folder: a new one, or an earlier Space's.")
@click.option("--push", is_flag=True, help="Create or update the Space, and check what is there afterwards.")
@click.option("--private", is_flag=True, help="With --push: only for you to see.")
def space_command(repo_id: str, reference: str, out: Path | None, push: bool, private: bool) -> None:
    """Put the app with a model on Hugging Face Spaces.

    Lists the files; --push uploads them. The token is that of HF_TOKEN or `hf auth login`.
    """
    from ..hub import check_repo_id
    from ..space import PLAN, push_space, space_files, summary, write_space

    if out and push:
        raise click.UsageError("give either --out, which only builds, or --push")
    if private and not push:
        raise click.UsageError("--private says how to --push")
    check_repo_id(repo_id)
    files = space_files(reference)
    for name, content in files.items():
        click.echo(f"{size_text(len(content)):>10}  {name}")
    click.echo(summary(files))
    if out:
        write_space(files, out)
        click.echo(out)
    elif push:
        click.echo(PLAN, err=True)
        click.echo(push_space(files, repo_id, private=private))
    else:
        click.echo("nothing was written: --out FOLDER keeps it, --push makes it a Space", err=True)
