"""``push``, ``pull``, ``space`` and ``static``: models to and from the Hub, and the app or a page published there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from ..files import RESULTS, atomic_write
from ..models import load_model
from ..quantities import size_text
from ..storage.hub import HubReference, check_repo_id
from ..storage.places import pinned, resolve
from ..storage.publish import check_token, publish
from .options import UserPath, model_option


@click.command("push")
@model_option(required=True)
@click.argument("repo", metavar="USER/REPO")
@click.option("--private", is_flag=True, help="Make the repo private, if this creates it.")
@click.option("--license", metavar="ID", help="The licence, as the Hub abbreviates it: mit, cc-by-4.0.")
def push_command(reference: str, repo: str, private: bool, license: str | None) -> None:
    """Publish a model on the Hub: weights, config, evaluation, and a card with samples.

    The token comes from `hf auth login` or HF_TOKEN.
    """
    from ..media.model_card import write_model_folder

    resolve(reference)  # a wrong name is said before a missing token
    check_token(repo)
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
@click.option("--out", type=UserPath(file_okay=False), help="Also copy the files into this plain folder.")
def pull_command(reference: str, out: Path | None) -> None:
    """Fetch a model from the Hub and check it; from then on it also works offline."""
    HubReference.parse(reference)
    place = resolve(pinned(reference))
    model = load_model(place.reference)
    click.echo(f"{model.source}: its weights fit its config", err=True)
    if out:
        for name in (*place.layout.files, RESULTS):
            if (place.folder / name).is_file():
                with atomic_write(out / name) as temporary:
                    shutil.copyfile(place.folder / name, temporary)
    click.echo(out or place.folder)
    click.echo(f"sample it: python -m ddpm sample grid --model {out or place.reference}", err=True)


@click.command("space")
@click.argument("repo_id", metavar="[USER/NAME]", required=False)
@model_option(required=True)
@click.option("--host", type=click.Choice(["docker", "streamlit", "pages", "gradio"]), default="docker",
              help="A Docker Space, Streamlit Community Cloud, GitHub Pages, or a Gradio Space.")  # fmt: skip
@click.option("--out", type=UserPath(), help="Only build the folder: a new one, or an earlier one of that host.")
@click.option("--push", is_flag=True, help="Create or update the Docker Space, then check what is there.")
@click.option("--private", is_flag=True, help="With --push: make the Space private.")
def space_command(
    repo_id: str | None, reference: str, host: str, out: Path | None, push: bool, private: bool
) -> None:  # fmt: skip
    """Put the app with a model on Hugging Face Spaces, or make a folder that another host takes.

    Lists the files; --push uploads them. The token comes from `hf auth login` or HF_TOKEN.
    """
    from ..deploy.space import PLAN, push_space, space_files, summary, total_bytes, write_space

    if out and push:
        raise click.UsageError("give either --out, which only builds, or --push")
    if private and not push:
        raise click.UsageError("--private goes with --push")
    if host == "docker" and not repo_id:
        raise click.UsageError("name the Space: USER/NAME")
    if host != "docker" and (repo_id or not out):
        raise click.UsageError(f"--host {host} only builds a folder: give --out FOLDER, and no USER/NAME")
    if repo_id:
        (check_token if push else check_repo_id)(repo_id)
    files = space_files(reference) if host == "docker" else _files_of(host, reference)
    for name, content in files.items():
        click.echo(f"{size_text(len(content)):>10}  {name}")
    click.echo(summary(files) if host == "docker" else f"{len(files)} files, {size_text(total_bytes(files))}")
    if out:
        write_space(files, out)
        click.echo(out)
        if host != "docker":
            click.echo(f"what to do with it: {out / 'README.md'}", err=True)
    elif push:
        click.echo(PLAN, err=True)
        click.echo(push_space(files, repo_id, private=private))
    else:
        click.echo("nothing was written: --out FOLDER saves the files, --push uploads them", err=True)


def _tell(doing: str) -> None:
    click.echo(f"{doing} ...", err=True)


def _files_of(host: str, reference: str) -> dict[str, bytes]:
    from ..deploy.hosts import gradio_files, pages_files, streamlit_files
    from ..deploy.static_page import static_files

    if host == "pages":
        reference = pinned(reference)
        return pages_files(static_files(reference, tell=_tell), [load_model(reference).config.name], [reference])
    return (streamlit_files if host == "streamlit" else gradio_files)(reference)


@click.command("static")
@click.option(
    "--model",
    "references",
    metavar="REF",
    multiple=True,
    required=True,
    help="A model; several are offered side by side, and the page opens with the first.",
    callback=lambda context, parameter, references: [*map(pinned, references)],
)
@click.option("--out", type=UserPath(), help="The folder to build: a new one, or an earlier page's.")
@click.option("--push", metavar="USER/NAME", help="Create or update this static Space, which is free.")
@click.option("--private", is_flag=True, help="With --push: make the Space private.")
@click.option("--weights", type=click.Choice(["fp16", "fp32"]), default="fp16", help="How the page stores them.")
@click.option("--app-url", metavar="URL", help="Address of the full app, linked at the foot of the page.")
@click.option("--repo-url", metavar="URL", help="Address of the repository, linked there too.")
@click.option("--runtime", type=UserPath(dir_okay=False), help="onnxruntime-web's .tgz.  [default: from npm]")
def static_command(
    references: list[str], out: Path | None, push: str | None, private: bool, weights: str, app_url: str | None,
    repo_url: str | None, runtime: Path | None,
) -> None:  # fmt: skip
    """Build a page of static files that runs models in the visitor's own browser."""
    from ..deploy.space import push_space, total_bytes, write_space
    from ..deploy.static_page import static_files

    if not out and not push:
        raise click.UsageError("give --out FOLDER, --push USER/NAME, or both")
    if private and not push:
        raise click.UsageError("--private goes with --push")
    links = {"The full app": app_url, "The repository": repo_url}
    for url in filter(None, links.values()):
        if not url.startswith(("https://", "http://")):
            raise click.UsageError(f"an address begins with https:// or http://, got {url}")
    if push:
        check_token(push)
    files = static_files(
        *references, weights=weights, links={text: url for text, url in links.items() if url}, runtime=runtime,
        tell=_tell,
    )  # fmt: skip
    for name, content in files.items():
        click.echo(f"{size_text(len(content)):>10}  {name}")
    click.echo(f"{len(files)} files, {size_text(total_bytes(files))}")
    if out:
        write_space(files, out)
        click.echo(out)
        click.echo(f"look at it: python -m http.server --bind 127.0.0.1 --directory {out}", err=True)
    if push:
        click.echo(push_space(files, push, private=private))
