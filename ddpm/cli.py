"""The command line: ``python -m ddpm``.

``sample grid`` may be written ``sample.grid``; ``_`` and ``-`` are the same in names of options and commands. Exit
codes: 0 done, 1 failed with one line on stderr, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from .config import SamplingConfig, load_config, sampling_settings, with_overrides
from .errors import ConfigError, DDPMError, ModelError, unknown
from .files import RunFolder, output_dir, write_bytes, write_text
from .models import Model, export_model, load_model, reference_of, repeat_labels, resolve, shipped_models, trained_runs
from .samplers import SAMPLERS, generate, sample
from .schedule import SCHEDULES, SPACINGS, make_schedule

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "show_default": True,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and not arguments[0].startswith("-"):
        arguments[:1] = arguments[0].split(".")
    try:
        code = cli.main(arguments, prog_name="python -m ddpm", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except DDPMError as error:
        click.echo(f"error: {error}", err=True)
        code = 1
    except OSError as error:
        if not error.filename:
            raise
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    sys.exit(code)


@click.group(context_settings=CONTEXT)
def cli() -> None:
    """Train, sample and look at denoising diffusion models."""


# -- sampling ------------------------------------------------------------------------------------------------------


def model_options(command: Callable) -> Callable:
    """Which model, and how it is sampled; what is left out is the model's own default."""
    for option in reversed(
        [
            click.option("--model", "reference", metavar="REF", help="Shipped name, run:NAME or path."),
            click.option(
                "--config", type=click.Path(path_type=Path), help="The run or shipped model that this YAML names."
            ),
            click.option("--sampler", "--method", type=click.Choice(list(SAMPLERS)), help="Reverse process."),
            click.option("--num-steps", "--steps", type=int, help="Network evaluations per image."),
            click.option("--eta", type=float, help="Fresh noise in DDIM: 0 none, 1 as DDPM."),
            click.option("--spacing", type=click.Choice(SPACINGS), help="Which timesteps are visited."),
            click.option("--guidance-scale", "--guidance", type=float, help="Classifier-free guidance; 1 is off."),
            click.option(
                "--labels",
                metavar="0,1,...",
                help="Classes, repeated to fill; 'none' for no class. Default: all in turn.",
            ),
            click.option("--seed", type=int, default=0, help="Image k of a seed is the same however many there are."),
            click.option("--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto."),
        ]
    ):
        command = option(command)
    return command


def open_model(reference: str | None, config: Path | None, device: str) -> Model:
    if (reference is None) == (config is None):
        raise click.UsageError("name a model: either --model REF or --config FILE")
    reference = reference or reference_of(load_config(config))
    model = load_model(reference, device)
    click.echo(f"model: {model.source} ({resolve(reference)})", err=True)
    return model


def labels_of(model: Model, text: str | None) -> list[int] | None:
    """The labels that --labels means, checked against the model; left out, it is all classes in turn."""
    if text is None:
        return list(range(model.num_classes)) or None
    if text == "none":
        return None
    try:
        labels = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--labels takes numbers such as 0,1,2 or 'none', got {text!r}") from None
    model.class_labels(labels, len(labels))
    return labels


def default_name(kind: str, settings: SamplingConfig, seed: int, count: int) -> str:
    return f"{kind}_{count}_{settings.sampler}_{settings.num_steps}steps_seed{seed}"


def check_suffix(option: str, path: Path | None, *suffixes: str) -> None:
    """Refuse a name to write whose suffix says something else, before any work is done."""
    if path and path.suffix.lower() not in suffixes:
        *most, last = suffixes
        expected = f"{', '.join(most)} or {last}" if most else last
        raise ConfigError(f"{option} {path}: expected a name that ends in {expected}")


@cli.group("sample")
def sample_group() -> None:
    """Generate images."""


@sample_group.command("grid")
@model_options
@click.option("--num-samples", type=click.IntRange(1), default=64, help="How many images.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The PNG to write.  [default: in the model's output folder]"
)
@click.option(
    "--npz", type=click.Path(path_type=Path), help="Also write arrays images uint8 (N,H,W,C) and labels (N,)."
)
@click.option("--batch-size", type=click.IntRange(1), default=64, help="Images at once.")
def sample_grid(reference, config, device, labels, seed, num_samples, out, npz, batch_size, **given):
    """Write a grid of generated images."""
    from .media.images import enlarge, make_grid, npz_bytes, png_bytes, to_uint8

    check_suffix("--out", out, ".png")
    check_suffix("--npz", npz, ".npz")
    model = open_model(reference, config, device)
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    with click.progressbar(length=num_samples, label="sampling", file=sys.stderr) as bar:
        images = to_uint8(
            generate(
                model, num_samples, labels=chosen, settings=settings, seed=seed, batch_size=batch_size,
                on_batch=lambda done: bar.update(done - bar.pos),
            )
        )  # fmt: skip
    out = out or RunFolder.named(model.config.name).grid(default_name("samples", settings, seed, num_samples))
    write_bytes(out, png_bytes(enlarge(make_grid(images))))
    click.echo(out)
    if npz:
        write_bytes(npz, npz_bytes(images, repeat_labels(chosen, num_samples)))
        click.echo(npz)


@sample_group.command("traj")
@model_options
@click.option("--num-samples", type=click.IntRange(1, 256), default=16, help="How many images.")
@click.option("--fps", type=click.FloatRange(1, 60), default=12, help="Frames per second.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The .gif, .mp4 or .png (a strip of frames) to write.  [default: a GIF in the model's output folder]",
)
def sample_traj(reference, config, device, labels, seed, num_samples, fps, out, **given):
    """Write the way from noise to image as an animation."""
    from .media.images import ANIMATIONS, Trajectory, png_bytes

    check_suffix("--out", out, *ANIMATIONS, ".png")
    model = open_model(reference, config, device)
    settings, chosen = sampling_settings(model.config, **given), labels_of(model, labels)
    steps = sample(model, num_samples, labels=chosen, settings=settings, seed=seed)
    with click.progressbar(steps, length=settings.num_steps + 1, label="sampling", file=sys.stderr) as progress:
        trajectory = Trajectory.from_steps(progress, settings.num_steps)
    name = default_name("trajectory", settings, seed, num_samples)
    out = out or RunFolder.named(model.config.name).animation(f"{name}.gif")
    encode = ANIMATIONS.get(out.suffix.lower())
    write_bytes(out, encode(trajectory.grids(), fps) if encode else png_bytes(trajectory.strip()))
    click.echo(out)


# -- training ------------------------------------------------------------------------------------------------------


@cli.command("train")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), required=True, help="A YAML such as configs/digits.yaml."
)
@click.option("--run", help="Name of the run.  [default: the config's name]")
@click.option("--resume", is_flag=True, help="Go on from the run's latest checkpoint.")
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.FIELD=VALUE", help="Change one field; any number of times."
)
def train_command(path: Path, run: str | None, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train a model; its folder is outputs/<run>."""
    from .training.jobs import advance_queue
    from .training.runs import Run

    config = load_config(path, list(overrides))
    if run:
        config = with_overrides(config, [f"name={run}"])
    folder = RunFolder.named(config.name)
    try:
        with Run(config, folder, resume=resume) as going, interruptible() as interrupted:
            state = going.state
            parameters = sum(p.numel() for p in state.model.parameters())
            click.echo(
                f"run {config.name}: {len(going.train_set):,} training and {len(going.val_set):,} validation images, "
                f"{parameters / 1e6:.2f} M parameters, {state.device}, {str(state.precision).removeprefix('torch.')}"
            )
            for reason in going.status.inexact:
                click.echo(f"going on, not exact to the bit: {reason}")
            listener = TrainingPrinter(state, folder)
            for event in going.events(interrupted.is_set):
                listener(event)
    finally:
        advance_queue()
    if going.status.state == "stopped":
        click.echo(f"interrupted; saved at step {state.step:,}, go on with --resume", err=True)
        raise click.exceptions.Exit(130)
    click.echo(f"done in {state.elapsed / 60:.1f} min; sample it: python -m ddpm sample grid --model run:{config.name}")


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C interrupts as ever."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TrainingPrinter:
    """Listens to a training run: prints its progress and draws its sample grids."""

    def __init__(self, state: Any, folder: RunFolder):
        self.state, self.folder, self.last_line = state, folder, 0.0

    def __call__(self, event: Any) -> None:
        from .training.loop import Progress, SamplesDue, Validated

        match event:
            case Progress() if sys.stdout.isatty() or time.monotonic() - self.last_line > 10:
                self.last_line = time.monotonic()
                self.echo(
                    f"step {event.step:,}/{event.total_steps:,}  epoch {event.epoch:.1f}  loss {event.train_loss:.4f}  "
                    f"{event.images_per_second:,.0f} images/s  ETA {duration(event.eta)}",
                    newline=not sys.stdout.isatty(),
                )
            case Validated():
                note = "  (best)" if event.is_best else ""
                self.echo(f"step {event.step:,}  validation loss {event.val_loss:.5f}{note}", newline=True)
            case SamplesDue():
                self.draw(event.step)

    def echo(self, text: str, newline: bool) -> None:
        click.echo(f"\r{text:<100}" if sys.stdout.isatty() else text, nl=newline)

    def draw(self, step: int) -> None:
        from .media.images import enlarge, make_grid, png_bytes, to_uint8

        config = self.state.config
        model = Model(config, self.state.ema.model, f"run {config.name!r}")
        count = 4 * config.model.num_classes if config.model.num_classes in range(1, 17) else 64
        images = to_uint8(generate(model, count, labels=labels_of(model, None), seed=config.training.seed))
        write_bytes(self.folder.grid(f"step_{step:06d}"), png_bytes(enlarge(make_grid(images))))


def duration(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


@cli.group("runs", invoke_without_command=True)
@click.pass_context
def runs_group(context: click.Context) -> None:
    """List the runs; or launch, stop, kill, resume or delete one."""
    if context.invoked_subcommand is None:
        list_runs()


def list_runs() -> None:
    from .training.jobs import advance_queue
    from .training.runs import all_runs, read_status

    advance_queue()
    for folder in all_runs():
        status = read_status(folder)
        line = f"{folder.path.name:<24} {status.state:<9} {status.step:,}/{status.total_steps:,}"
        if status.eta is not None and status.state == "running":
            line += f"  {status.images_per_second:,.0f} images/s  ETA {duration(status.eta)}"
        if status.best_val_loss is not None:
            line += f"  best validation loss {status.best_val_loss:.5f}"
        click.echo(line)
        if status.error:
            click.echo(f"    {status.error}")


@runs_group.command("launch")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), required=True, help="A YAML such as configs/digits.yaml."
)
@click.option("--run", help="Name of the run.  [default: the config's name]")
@click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.FIELD=VALUE", help="Change one field; any number of times."
)
def runs_launch(path: Path, run: str | None, overrides: tuple[str, ...]) -> None:
    """Train in the background; the run goes on when this terminal closes."""
    from .training.jobs import launch

    config = load_config(path, [*overrides, *([f"name={run}"] if run else [])])
    click.echo(f"{launch(config).path}")


def run_named(name: str) -> RunFolder:
    from .training.runs import all_runs

    runs = {folder.path.name: folder for folder in all_runs()}
    if name not in runs:
        raise ModelError(unknown("run", name, runs))
    return runs[name]


def run_action(name: str, help: str) -> Callable:
    """A subcommand of ``runs`` that does one thing to one run."""

    def decorate(function: Callable[[RunFolder], None]) -> click.Command:
        @runs_group.command(name, help=help)
        @click.argument("run")
        def command(run: str) -> None:
            function(run_named(run))

        return command

    return decorate


@run_action("stop", "Finish the step, save, and end.")
def runs_stop(folder: RunFolder) -> None:
    from .training.jobs import stop

    stop(folder)


@run_action("kill", "End at once; what was learnt since the last checkpoint is lost.")
def runs_kill(folder: RunFolder) -> None:
    from .training.jobs import kill

    kill(folder)


@run_action("resume", "Go on from the latest checkpoint.")
def runs_resume(folder: RunFolder) -> None:
    from .training.jobs import launch

    launch(load_config(folder.config), resume=True)


@run_action("delete", "Remove the run's folder; asks first.")
def runs_delete(folder: RunFolder) -> None:
    from .training.jobs import delete

    click.confirm(f"Delete {folder.path} and everything in it?", abort=True)
    delete(folder)


@cli.command("train-classifier")
@click.option("--epochs", type=click.IntRange(1), default=12, help="Passes over MNIST's training images.")
@click.option("--seed", type=int, default=0)
@click.option("--out", type=click.Path(path_type=Path), help="The .safetensors to write.  [default: the shipped file]")
def train_classifier_command(epochs: int, seed: int, out: Path | None) -> None:
    """Train the digit classifier that judges samples."""
    import torch

    from .data import load_dataset
    from .evaluation import classifier
    from .weights import write_safetensors

    torch.manual_seed(seed)
    model = classifier.Classifier()
    train_set, test_set = load_dataset(classifier.DATA, "train"), load_dataset(classifier.DATA, "test")
    for done in classifier.train_classifier(model, train_set, epochs, seed):
        click.echo(f"epoch {done.epoch}/{epochs}  loss {done.loss:.4f}")
    click.echo(f"accuracy on {len(test_set):,} test images: {classifier.accuracy(model, test_set):.2%}")
    out = out or classifier.SHIPPED
    write_safetensors(model, out)
    click.echo(out)


@cli.command("eval")
@model_options
@click.option("--num-samples", type=click.IntRange(2), default=500, help="Samples to judge, classes balanced.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The JSON to write.  [default: in the model's output folder]"
)
def eval_command(reference, config, device, labels, seed, num_samples, out, **given):
    """Measure a model: calibration on the test set, and samples judged by the classifier."""
    import json

    from .evaluation.evaluate import evaluate

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


# -- looking -------------------------------------------------------------------------------------------------------


@cli.group("viz")
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
    from .media.figures import save_schedules

    out = out or output_dir() / "curves" / "schedules.png"
    check_suffix("--out", out, ".png", ".svg", ".pdf")
    save_schedules({name: make_schedule(name, num_timesteps) for name in schedules.split(",")}, out)
    click.echo(out)


@viz_group.command("curves")
@click.option("--log-dir", type=click.Path(path_type=Path), required=True, help="A run's logs folder.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write into.  [default: curves beside it]")
def viz_curves(log_dir: Path, out: Path | None) -> None:
    """Draw the training curves of a run."""
    from .media.figures import save_curves
    from .training.history import read_history

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
    from .data import class_by_class, load_dataset
    from .media.images import enlarge, make_grid, png_bytes

    images = class_by_class(load_dataset(load_config(path).data, split), num_samples)
    write_bytes(out, png_bytes(enlarge(make_grid(images.images))))
    click.echo(out)


@cli.command("export")
@click.option("--model", "reference", metavar="REF", required=True, help="Shipped name, run:NAME or path.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write into.")
def export_command(reference: str, out: Path) -> None:
    """Write a model's averaged weights as model.safetensors with its config.yaml."""
    click.echo(export_model(reference, out))
    click.echo(f"sample it: python -m ddpm sample grid --model {out}", err=True)


@cli.command("models")
def models_command() -> None:
    """List the models that can be sampled."""
    for name in shipped_models():
        click.echo(f"{name}  (shipped)")
    for name in trained_runs():
        click.echo(f"run:{name}")
