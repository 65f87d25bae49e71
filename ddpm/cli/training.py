"""``train``, ``distill``, ``ema`` and ``train-classifier``."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config.edit import load_config
from ..config.schema import Config
from ..files import RunFolder, output_dir
from ..models import Model
from ..quantities import duration
from ..sampling import generate
from .hf_jobs import check_unused, job_options, train_there
from .options import UserPath, accept_option, config_of, labels_of, run_named, set_option

if TYPE_CHECKING:  # torch's optimizers are slow to import
    from ..training.distributed import World
    from ..training.run import Run


SAY_EVERY = 10.0  # seconds between lines of progress when no terminal shows them


@click.command("train")
@click.option("--config", "path", type=UserPath(), required=True, help="A YAML such as configs/digits.yaml.")
@click.option("--run", help="Name of the run.  [default: the config's name]")
@click.option("--resume", is_flag=True, help="Continue from the run's latest checkpoint.")
@accept_option
@set_option
@job_options
def train_command(
    path: Path, run: str | None, resume: bool, accept_changed_data: bool, overrides: tuple[str, ...], on: str | None,
    **of_job: Any,
) -> None:  # fmt: skip
    """Train a model; its folder is outputs/<run>."""
    if on:
        train_there(config_of(path, run, overrides), resume, accept_changed_data, **of_job)
        return
    check_unused(of_job)
    train_and_exit(lambda: config_of(path, run, overrides), resume, accept_changed_data)


@click.command("hf-job", hidden=True)
@click.argument("repo", metavar="USER/REPO")
@click.option("--run", required=True)
@click.option("--every", type=float, required=True, help="Seconds between two uploads.")
@accept_option
def hf_job_command(repo: str, run: str, every: float, accept_changed_data: bool) -> None:
    """Train a run inside a job of `train --on hf-jobs`, which starts this."""
    from ..deploy.hf_job_worker import fetch_run, uploaded
    from ..deploy.run_repo import RunRepo

    runs = RunRepo(repo)
    folder = fetch_run(runs, run)
    with uploaded(runs, folder, every), suppress(click.exceptions.Exit):  # stopped as asked, which is no failure
        train_and_exit(lambda: load_config(folder.config), folder.can_resume, accept_changed_data)


def train_and_exit(config_of: Callable[[], Config], resume: bool, accept_changed_data: bool = False) -> None:
    """Train a run among the processes that train together, then start what waits in the queue."""
    from ..training.distributed import joined
    from ..training.queue import advance_queue

    with joined() as world:
        config = config_of()
        resume = resume or (world.restarts and RunFolder.named(config.name).can_resume)
        try:
            done = train_run(config, world, resume, accept_changed_data)
        except KeyboardInterrupt:
            if RunFolder.named(config.name).trajectories.is_dir():
                click.echo("interrupted; what the teacher has drawn is kept, continue with --resume", err=True)
            raise
        finally:
            if world.leads:
                advance_queue()
    if done and done.status.state == "stopped":
        raise click.exceptions.Exit(130)


def train_run(config: Config, world: World, resume: bool, accept_changed_data: bool = False) -> Run | None:
    """Train a run, with its progress printed by the leading process; None if the run is already finished."""
    from ..deploy.public import is_public
    from ..training.loop import images_per_step
    from ..training.preflight import check, refuse
    from ..training.run import Run
    from ..training.runs import finished_text, is_finished

    echo = click.echo if world.leads else lambda *_, **__: None
    folder = RunFolder.named(config.name)
    if resume and is_finished(folder, config):
        echo(finished_text(folder, config))
        return None
    findings = [] if resume else check(config)  # a resumed run printed its findings when it began
    refuse(findings)
    how = {"resume": resume, "accept_changed_data": accept_changed_data, "world": world, "track": not is_public()}
    with interruptible() as interrupted, Run(config, folder, **how, tell=_Preparing(echo, interrupted)) as going:
        state = going.state
        parameters = sum(p.numel() for p in state.model.parameters())
        echo(
            f"run {config.name}: {len(going.train_set):,} training and {len(going.val_set):,} validation images, "
            f"{images_per_step(len(going.train_set), config.training.batch_size):,} in a step, "
            f"{parameters / 1e6:.2f} M parameters, {state.device}, {str(state.precision).removeprefix('torch.')}"
            + (f", {world.size} processes" if world.size > 1 else "")
        )
        for finding in findings:
            echo(finding.line, err=True)
        for note in going.status.notes:
            echo(f"of the images: {note}")
        for reason in going.status.inexact:
            echo(f"going on, not exact to the bit: {reason}")
        listener = TrainingPrinter(going)
        for event in going.events(interrupted.is_set):
            if world.leads:
                listener(event)
    if going.status.state == "stopped":
        echo(f"interrupted; saved at step {state.step:,}, continue with --resume", err=True)
    else:
        echo(f"done in {state.elapsed / 60:.1f} min; sample it: python -m ddpm sample grid --model run:{config.name}")
    return going


class _Preparing:
    """Prints now and then what is happening before the first step, and stops it on request."""

    def __init__(self, echo: Callable, interrupted: threading.Event):
        self.echo, self.interrupted, self.spoke = echo, interrupted, time.monotonic()

    def __call__(self, doing: str) -> None:
        if self.interrupted.is_set():
            raise KeyboardInterrupt
        on_screen = sys.stdout.isatty()
        if on_screen or time.monotonic() - self.spoke > SAY_EVERY:
            self.spoke = time.monotonic()
            self.echo(f"\r{doing:<100}\r" if on_screen else doing, nl=not on_screen)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C interrupts as usual."""
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

    def __init__(self, run: Run):
        self.run, self.last_line = run, 0.0

    def __call__(self, event: Any) -> None:
        from ..training.events import Progress, SamplesDue, Validated

        match event:
            case Progress() if sys.stdout.isatty() or time.monotonic() - self.last_line > SAY_EVERY:
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
        from ..media.images import enlarge, make_grid, png_bytes, to_uint8

        config = self.run.config
        model = Model(config, self.run.state.ema.model, f"run {config.name!r}")
        classes = config.model.num_classes if config.model.num_classes in range(1, 17) else 0
        count, columns = (4 * classes, classes * max(1, 4 // classes)) if classes else (64, 8)  # a class down a column
        images = to_uint8(generate(model, count, labels=labels_of(model, None), seed=config.training.seed))
        self.run.keep_grid(step, png_bytes(enlarge(make_grid(images, columns))))


@click.command("distill")
@click.option("--teacher", required=True, metavar="REF", help="A model: mnist, run:NAME, a path or hf://user/repo.")
@click.option("--run", help="Name of the run.  [default: the teacher's name and -fast]")
@click.option("--steps", "counts", default="1,2,4,8", show_default=True, metavar="1,2,4,8",
              help="Numbers of steps that the student draws in.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue from the run's latest checkpoint.")
@set_option
def distill_command(teacher: str, run: str | None, counts: str, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train a student that draws in a few steps what its teacher draws in many; its folder is outputs/<run>.

    The teacher draws first, which takes the longest.
    """
    from ..training.start import student_of

    train_and_exit(lambda: student_of(teacher, run, counts, overrides), resume)


@click.command("ema")
@click.option("--run", required=True, help="A run that was trained with training.ema_snapshots.")
@click.option("--length", type=float, help="Standard deviation of the average over the steps, as a share of the "
              "training.  [default: compare several by their validation loss]")  # fmt: skip
@click.option("--step", type=click.IntRange(1), help="Of the snapshot to average up to, such as an early one to guide "
              "with.  [default: the last]")  # fmt: skip
@click.option("--out", type=UserPath(), help="The folder to write the model to.  [default: in the run's folder]")
def ema_command(run: str, length: float | None, step: int | None, out: Path | None) -> None:
    """Average a run's weights over another length, after its training."""
    from ..training.averages import average_of, compare_lengths

    folder = run_named(run)
    if length is None:
        if out or step:
            raise click.UsageError("--out and --step need a --length")
        click.echo("length  validation loss")
        for shown, loss in compare_lengths(folder):
            click.echo(f"{shown:<6g}  {loss:.5f}")
        return
    out = out or folder.averages / (f"length-{length:g}" + (f"-step-{step}" if step else ""))
    average_of(folder, length, step).save(out, places=True)  # it is evaluated beside its run
    click.echo(f"{out}; sample it: python -m ddpm sample grid --model {out}")


@click.command("train-classifier")
@click.option("--epochs", type=click.IntRange(1), default=12, help="Passes over MNIST's training images.")
@click.option("--seed", type=int, default=0)
@click.option("--out", type=UserPath(), help="The .safetensors to write.  [default: in the output folder]")
def train_classifier_command(epochs: int, seed: int, out: Path | None) -> None:
    """Train the digit classifier that judges samples."""
    import torch

    from ..data import load_dataset
    from ..evaluation import classifier
    from ..storage.weights import write_safetensors

    torch.manual_seed(seed)
    model = classifier.Classifier()
    train_set, test_set = load_dataset(classifier.DATA, "train"), load_dataset(classifier.DATA, "test")
    for done in classifier.train_classifier(model, train_set, epochs, seed):
        click.echo(f"epoch {done.epoch}/{epochs}  loss {done.loss:.4f}")
    click.echo(f"accuracy on {len(test_set):,} test images: {classifier.accuracy(model, test_set):.2%}")
    out = out or output_dir() / "classifier.safetensors"
    write_safetensors(model, out)
    click.echo(out)
