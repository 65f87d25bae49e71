"""``train --on hf-jobs`` and ``runs follow``: training on a machine that Hugging Face rents."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from ..config.schema import Config
from ..errors import HubError, ModelError
from ..files import RunFolder

ON = "hf-jobs"
HOURS = 4.0  # that a job may take unless asked otherwise


def job_options(command: Callable) -> Callable:
    """Where ``train`` trains, and what that may cost."""
    for option in reversed((
        click.option("--on", type=click.Choice([ON]), help="Train on a machine rented from Hugging Face; shows the "
                     "price and asks first.  [default: this machine]"),
        click.option("--flavor", metavar="NAME", help="With --on: the machine, such as t4-small."),
        click.option("--repo", metavar="USER/REPO", help="With --on: the run's private repo.  [default: the account's, "
                     "with the run's name]"),
        click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="With --on: when the job ends at the "
                     f"latest, which bounds the cost.  [default: {HOURS:g}]"),
        click.option("--yes", is_flag=True, help="With --on: do not ask."),
        click.option("--detach", is_flag=True, help="With --on: do not follow the job."),
    )):  # fmt: skip
        command = option(command)
    return command


def train_there(
    config: Config, resume: bool, accept_changed_data: bool, *, flavor: str | None, repo: str | None,
    hours: float | None, yes: bool, detach: bool,
) -> None:  # fmt: skip
    """Show what a training on Hugging Face would cost, ask, start it and follow it."""
    from ..deploy.hf_jobs import plan, submit

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("--on starts a job of its own: call it without torchrun")
    planned = plan(
        config, flavor, repo_id=repo, hours=hours or HOURS, resume=resume, accept_changed_data=accept_changed_data
    )
    for line in planned.lines:
        click.echo(line, err=True)
    if not yes:
        click.confirm("Start it?", abort=True, err=True)
    folder = submit(planned)
    if detach:
        click.echo(ways_on(folder))
    else:
        follow_in_terminal(folder)


def check_unused(given: dict[str, Any]) -> None:
    """Refuse options of jobs where no job is asked for."""
    if names := [f"--{name}" for name, value in given.items() if value]:
        raise click.UsageError(f"{names[0]} goes with --on {ON}")


def ways_on(folder: RunFolder) -> str:
    from ..deploy.remote import RemoteJob

    url, runs = RemoteJob.of(folder).url, "python -m ddpm runs"
    return f"{url}\nfollow it: {runs} follow {folder.path.name}; end it: {runs} stop {folder.path.name}"


def follow_in_terminal(folder: RunFolder) -> None:
    """Print a job's log until it is over; Ctrl-C only ends the printing."""
    from ..deploy.remote import RemoteJob, follow

    if not RemoteJob.of(folder):
        raise ModelError(f"run {folder.path.name} is of this machine, not of a job: its log is {folder.log}")
    click.echo(ways_on(folder), err=True)
    try:
        status = follow(folder, click.echo)
    except (KeyboardInterrupt, HubError):
        click.echo(f"the job goes on, and costs:\n{ways_on(folder)}", err=True)
        raise
    at = f"at step {status.step:,} of {status.total_steps:,}"
    click.echo(f"run {folder.path.name} is {status.state} {at}; its files are in {folder.path}")
    if status.state == "failed":
        raise click.ClickException(status.error or "the job failed")
    if status.state == "stopped":
        raise click.exceptions.Exit(130)
