"""``runs``: the training runs of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from ..config.edit import load_config
from ..errors import HubError, ModelError
from ..files import RunFolder
from ..quantities import duration
from .hf_jobs import follow_in_terminal
from .options import UserPath, accept_option, config_of, run_named, set_option


@click.group("runs", invoke_without_command=True)
@click.pass_context
def runs_group(context: click.Context) -> None:
    """List the runs; or launch, follow, stop, kill, resume or delete one."""
    if context.invoked_subcommand is None:
        list_runs()


def list_runs() -> None:
    from ..deploy.remote import refresh
    from ..jobs import ACTIVE, read_status
    from ..training.queue import advance_queue
    from ..training.runs import all_runs

    advance_queue()
    for folder in all_runs():
        try:
            refresh(folder)
        except HubError as error:
            click.echo(error, err=True)
        status = read_status(folder)
        line = f"{folder.path.name:<24} {status.state:<9} {status.step:,}/{status.total_steps:,}"
        if status.eta is not None and status.state == "running":
            line += f"  {status.images_per_second:,.0f} images/s  ETA {duration(status.eta)}"
        if status.best_val_loss is not None:
            line += f"  best validation loss {status.best_val_loss:.5f}"
        click.echo(line)
        if status.remote and status.state in ACTIVE:
            click.echo(f"    {f'{status.doing}, ' if status.doing else ''}{status.remote}")
        if status.error:
            click.echo(f"    {status.error}")


@runs_group.command("launch")
@click.option("--config", "path", type=UserPath(), required=True, help="A YAML such as configs/digits.yaml.")
@click.option("--run", help="Name of the run.  [default: the config's name]")
@set_option
def runs_launch(path: Path, run: str | None, overrides: tuple[str, ...]) -> None:
    """Train in the background; the run continues when this terminal closes."""
    from ..training.preflight import check
    from ..training.queue import launch

    config = config_of(path, run, overrides)
    folder = launch(config)
    for finding in check(config):
        click.echo(finding.line, err=True)
    click.echo(folder.path)


run_argument = click.argument(
    "folder", metavar="RUN", callback=lambda context, parameter, name: name and run_named(name)
)


def _check_active(folder: RunFolder) -> None:
    from ..jobs import ACTIVE, read_status

    if (state := read_status(folder).state) not in ACTIVE:
        raise ModelError(f"run {folder.path.name} is {state} already: there is nothing to end")


@runs_group.command("follow")
@run_argument
def runs_follow(folder: RunFolder) -> None:
    """Print the log of a run that is trained on Hugging Face, and keep its folder here up to date."""
    follow_in_terminal(folder)


@runs_group.command("stop")
@run_argument
def runs_stop(folder: RunFolder) -> None:
    """Finish the step, save, and end."""
    from ..deploy.ending import stop

    _check_active(folder)
    stop(folder)


@runs_group.command("kill")
@run_argument
def runs_kill(folder: RunFolder) -> None:
    """End at once; what was learnt since the last checkpoint is lost."""
    from ..deploy.ending import kill

    _check_active(folder)
    kill(folder)


@runs_group.command("resume")
@run_argument
@accept_option
def runs_resume(folder: RunFolder, accept_changed_data: bool) -> None:
    """Continue from the latest checkpoint."""
    from ..training.queue import launch

    launch(load_config(folder.config), resume=True, accept_changed_data=accept_changed_data)


@runs_group.command("delete")
@run_argument
def runs_delete(folder: RunFolder) -> None:
    """Remove the run's folder; asks first."""
    from ..training.queue import delete

    click.confirm(f"Delete {folder.path} and everything in it?", abort=True)
    delete(folder)
