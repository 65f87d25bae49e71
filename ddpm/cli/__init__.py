"""The command line: ``python -m ddpm``.

``sample grid`` may be written ``sample.grid``; ``_`` and ``-`` are the same in names of options and commands. Exit
codes: 0 done, 1 failed with one line on stderr, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys

import click

from ..errors import DDPMError, one_line
from ..extensions import load_extensions
from . import editing, evaluation, hub, looking, runs, sampling, training

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "show_default": True,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments, modules = _without_imports(list(sys.argv[1:] if arguments is None else arguments))
    if arguments and not arguments[0].startswith("-"):
        arguments[:1] = arguments[0].split(".")
    try:
        load_extensions(modules)
        code = cli.main(arguments, prog_name="python -m ddpm", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (DDPMError, OSError) as error:
        if isinstance(error, OSError) and not error.strerror:
            raise
        click.echo(f"error: {one_line(error)}", err=True)
        code = 1
    except MemoryError:
        click.echo("error: out of memory", err=True)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    sys.exit(code)


def _without_imports(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split leading ``--import MODULE`` options from the arguments. The modules must be imported before parsing, since
    what they register becomes a valid choice."""
    modules = []
    while arguments and arguments[0].partition("=")[0] == "--import":
        _, equals, module = arguments.pop(0).partition("=")
        modules.append(module if equals else arguments.pop(0) if arguments else "")
    return arguments, modules


@click.group(context_settings=CONTEXT)
@click.option("--import", "modules", metavar="MODULE", multiple=True, help="A module that registers a schedule, a "
              "sampler or a dataset of your own; before the command.")  # fmt: skip
def cli(modules: tuple[str, ...]) -> None:
    """Train, sample and look at denoising diffusion models."""


for command in (
    training.train_command,
    training.hf_job_command,
    sampling.sample_group,
    editing.edit_group,
    evaluation.eval_command,
    evaluation.judge_command,
    evaluation.doctor_command,
    evaluation.report_command,
    looking.viz_group,
    training.distill_command,
    runs.runs_group,
    looking.models_command,
    looking.export_command,
    hub.push_command,
    hub.pull_command,
    hub.space_command,
    hub.static_command,
    training.ema_command,
    training.train_classifier_command,
):
    cli.add_command(command)
