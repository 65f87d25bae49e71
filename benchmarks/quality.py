"""How much each has learnt after so many minutes of CPU time on MNIST: ``python -m benchmarks.quality``.

Every contender trains in a process of its own, with one thread, as its library recommends: ours by its config,
diffusers by its example, lucidrains by its Trainer; on the same images, over the same schedule. Only a warm-up is cut
to a tenth of the steps, for all. The clock is the CPU time of the process, and stands still while it validates. At
every mark the averaged weights and the raw ones are asked for the noise in 2,000 test images, without a label, in
float32, with the same noise and timesteps for all; the lower mean squared error counts, since a young average lags
behind.

Each keeps its curve in a file of its own, so that an interrupted run goes on with those who are missing. ``--only``
names who is to run again.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ddpm.config import Config, load_config, with_overrides
from ddpm.data import ImageSet, load_dataset
from ddpm.device import allowed_cores, resolve_precision
from ddpm.diffusion import q_sample, to_prediction
from ddpm.errors import ConfigError
from ddpm.files import output_dir, write_bytes, write_text
from ddpm.media.images import npz_bytes
from ddpm.schedule import NoiseSchedule
from ddpm.training.loop import TrainState, train, validation_batches

from .contenders import (
    CONFIG,
    CONTENDERS,
    NEVER,
    OURS,
    PEERS,
    TRAINING_SETTINGS,
    Contender,
    OurTraining,
    PeerTraining,
    Setting,
    best_setting,
    training_images,
    warm_up,
)
from .drawn import draw
from .machine import Machine
from .rows import Row

MINUTES = 15.0
MARKS = (1, 2, 3, 4, 5, 7.5, 10, 12.5)  # minutes, those before the last
PEERS_MARKS = (5, 10)  # of a peer its last value counts, and looking costs it minutes
IMAGES = 2000  # of the test set
AT_A_TIME = 5  # steps between two looks at the clock
PACE_STEPS, WARM_UP = 20, 5
MARGIN = 0.98  # of the steps that the pace promises, so that the falling rate reaches its end within the time


@dataclass(frozen=True)
class Point:
    """The eps-MSE after so many CPU minutes, of the averaged weights and of the raw ones."""

    minutes: float
    steps: int
    averaged: float
    raw: float

    @property
    def value(self) -> float:
        return min(self.averaged, self.raw)


@dataclass(frozen=True)
class Curve:
    """What one contender did, as its file holds it."""

    contender: str
    minutes: float
    """The budget."""
    config: str | None
    """The name of ours' config file."""
    setting: str
    batch_size: int
    total_steps: int
    """Over which the learning rate was planned."""
    done: bool = False
    points: list[Point] = field(default_factory=list)

    def after(self, minutes: float) -> float:
        """The value at a mark."""
        return min(self.points, key=lambda point: abs(point.minutes - minutes)).value

    def minutes_until(self, value: float) -> float | None:
        """When the curve fell to ``value``, straight between its points; None if never."""
        before = None
        for point in self.points:
            if point.value <= value:
                if before is None:
                    return point.minutes
                share = (before.value - value) / (before.value - point.value)
                return before.minutes + share * (point.minutes - before.minutes)
            before = point
        return None


def read_curve(path: Path) -> Curve | None:
    """The curve of a contender that has finished, None where it has not."""
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    curve = Curve(**{**values, "points": [Point(**point) for point in values["points"]]})
    return curve if curve.done else None


@dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    out: Path
    """The folder of the curves."""
    minutes: float = MINUTES
    config: Path = CONFIG
    """Of ours."""
    changes: tuple[str, ...] = ()
    """To it, as training.batch_size=64."""
    samples: int = 0
    """Images to keep of each."""

    def curve(self, key: str) -> Path:
        """The file of a contender's curve."""
        words = [key]
        if key == OURS.key:
            words += [self.config.stem] * (self.config.resolve() != CONFIG.resolve()) + list(self.changes)
        return self.out / f"{'-'.join(words)}-{self.minutes:g}min.json"

    def words(self) -> list[str]:
        """The command line that says the same."""
        changes = [word for change in self.changes for word in ("--set", change)]
        return ["--minutes", str(self.minutes), "--config", str(self.config), "--out", str(self.out),
                "--samples", str(self.samples), *changes]  # fmt: skip


def default_out() -> Path:
    return output_dir() / "benchmarks" / "quality"


# -- the measure ---------------------------------------------------------------------------------------------------

Batch = tuple[Tensor, Tensor, Tensor]


def validation(images: ImageSet) -> list[Batch]:
    """(x0, t, eps) of the images, with the noise and the timesteps of the training's own validation."""
    batches = validation_batches(TrainState(load_config(CONFIG)), images)
    return [(x0.cpu(), t.cpu(), eps.cpu()) for x0, t, eps, _ in batches]


@torch.no_grad()
def eps_mse(
    predict: Callable[[Tensor, Tensor], Tensor], schedule: NoiseSchedule, batches: list[Batch], prediction_type: str
) -> float:
    """The mean squared error of the noise that a network finds, over all images and their timesteps."""
    total, count = 0.0, 0
    for x0, t, eps in batches:
        x_t = q_sample(schedule, x0, t, eps)
        found = to_prediction(schedule, predict(x_t, t).float(), x_t, t, prediction_type).eps
        total += (found - eps).square().mean((1, 2, 3)).sum().item()
        count += len(x0)
    return total / count


# -- one contender -------------------------------------------------------------------------------------------------


def repeated(images: ImageSet, count: int) -> ImageSet:
    """``count`` images, all of them the same number of times, give or take one."""
    return images[torch.arange(count) % len(images)]


def our_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Ours as its config stands, but with one long epoch, whose end is the end of the time."""
    # The loop plans its learning rate over whole epochs, of which fifteen minutes hold only a few.
    quiet = {"epochs": 1, "log_every": AT_A_TIME, "val_every": NEVER, "sample_every": NEVER, "device": "cpu"}
    config = load_config(path, [*changes, *(f"training.{key}={value}" for key, value in quiet.items())])
    standard = load_config(CONFIG)
    if (config.schedule, config.data) != (standard.schedule, standard.data):
        raise ConfigError(f"{path}: the others train on the data and over the schedule of {CONFIG.name}, so must this")
    return config


def start(
    contender: Contender, setting: Setting, images: ImageSet, total_steps: int, config: Config
) -> OurTraining | PeerTraining:
    if contender.train:
        network = contender.make()
        return contender.train(network, setting, images.images, contender.batch_size, total_steps, AT_A_TIME)
    steps = warm_up(config.training.warmup_steps, total_steps)
    state = TrainState(with_overrides(config, [f"training.warmup_steps={steps}"]))
    images = repeated(images, total_steps * config.training.batch_size)
    return OurTraining(state, train(state, images, images[:1]))


def seconds_per_step(training: OurTraining | PeerTraining, steps: int = PACE_STEPS) -> float:
    """CPU seconds."""
    while training.steps < WARM_UP:
        training.go_on()
    first, begin = training.steps, time.process_time()
    while training.steps < first + steps:
        training.go_on()
    return (time.process_time() - begin) / (training.steps - first)


def looks(training: OurTraining | PeerTraining, marks: list[float]) -> Iterator[float]:
    """Train; at every mark yield the CPU minutes so far. The time that the caller takes then is not counted."""
    seconds, marks = 0.0, list(marks)
    while marks:
        begin = time.process_time()
        going = training.go_on()
        seconds += time.process_time() - begin
        if seconds >= 60 * marks[0] or not going:
            yield seconds / 60
            marks = [mark for mark in marks if 60 * mark > seconds] if going else []


def run_contender(contender: Contender, plan: Plan) -> None:
    """Train it, with one thread, and keep its curve as it grows; then keep so many samples of it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config, images = our_config(plan.config, plan.changes), training_images()
    minutes, samples = plan.minutes, plan.samples
    schedule = config.schedule.build()
    batches = validation(load_dataset(config.data, "test")[:IMAGES])
    ours, batch_size = contender.train is None, contender.batch_size
    if ours:
        precision = resolve_precision(config.training.precision, torch.device("cpu"))
        setting = Setting("fp32" if precision == torch.float32 else "bf16 autocast")
        batch_size = config.training.batch_size
    else:
        setting = best_setting(
            contender.network_of_its_own,
            contender.predict,
            batch_size,
            TRAINING_SETTINGS,
            training=True,
            clock=time.process_time,
        )
    total = WARM_UP + AT_A_TIME + PACE_STEPS
    total = max(1, int(MARGIN * 60 * minutes / seconds_per_step(start(contender, setting, images, total, config))))
    gc.collect()
    path = plan.curve(contender.key)
    curve = Curve(contender.key, minutes, plan.config.name if ours else None, str(setting), batch_size, total)
    training = start(contender, setting, images, total, config)
    prediction_type = config.diffusion.prediction_type if ours else contender.prediction_type
    marks = MARKS if ours else PEERS_MARKS
    for now in looks(training, [mark for mark in marks if mark < minutes] + [minutes]):
        values = []
        for network in training.networks():
            was_training = network.training
            network.eval()
            values.append(
                eps_mse(lambda x, t, n=network: contender.predict(n, x, t), schedule, batches, prediction_type)
            )
            network.train(was_training)
        curve.points.append(Point(now, training.steps, *values))
        write_text(path, json.dumps(asdict(curve), indent=2) + "\n")
        value = curve.points[-1].value
        print(f"{contender.key}: {now:.2f} min, {training.steps} steps, eps-MSE {value:.5f}", flush=True)
    write_text(path, json.dumps(asdict(curve) | {"done": True}, indent=2) + "\n")
    if samples:
        last = curve.points[-1]
        network = training.networks()[0 if last.averaged <= last.raw else 1].eval()
        drawn = draw(partial(contender.predict, network), schedule, prediction_type, images.images.shape[1:], samples)
        write_bytes(path.with_suffix(".npz"), npz_bytes(drawn, [-1] * samples))


# -- all of them ---------------------------------------------------------------------------------------------------


def run_all(keys: list[str], plan: Plan, jobs: int) -> None:
    """Each in a process of its own, ``jobs`` side by side.

    Raises:
        SystemExit: one of them failed; the others have gone on to their end.
    """

    def run(key: str) -> int:
        command = [sys.executable, "-m", "benchmarks.quality", "--alone", key, *plan.words()]
        return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode

    with ThreadPoolExecutor(jobs) as pool:
        failed = [key for key, code in zip(keys, pool.map(run, keys), strict=True) if code]
    if failed:
        raise SystemExit(f"these failed: {', '.join(failed)}; their messages are above")


def cores() -> int:
    return max(1, int(min(os.cpu_count() or 1, allowed_cores())))


def measure(plan: Plan, jobs: int, only: list[str] | None = None) -> dict[str, Curve]:
    """The curves of all that have one, after those have run who have none, or whom ``only`` names."""
    paths = {key: plan.curve(key) for key in CONTENDERS}
    keys = only or [key for key, path in paths.items() if read_curve(path) is None]
    run_all(keys, plan, jobs)
    return {key: curve for key, path in paths.items() if (curve := read_curve(path))}


def rows(machine: Machine, quick: bool) -> list[Row]:
    """Of the curves of ``MINUTES``; those that are there already are not made again."""
    curves = measure(Plan(default_out()), cores())
    return [row for peer in PEERS for row in _rows(peer, curves[OURS.key], curves[peer.key])]


def _rows(peer: Contender, ours: Curve, curve: Curve) -> list[Row]:
    name = f"{peer.name} ({curve.setting}, batch of {curve.batch_size})"
    about = {"task": "quality", "peer_name": name, "params_m": peer.params_m, "gmac": peer.gmac}
    last = curve.after(curve.minutes)
    return [
        *(
            Row(row=f"eps-MSE after {minutes:g} CPU minutes", unit="eps-MSE", ours=ours.after(minutes),
                peer=curve.after(minutes), **about)
            for minutes in (MINUTES / 3, MINUTES)
        ),
        Row(row=f"until ours passes the peer's value after {MINUTES:g} CPU minutes", unit="min",
            ours=ours.minutes_until(last), peer=curve.points[-1].minutes, **about),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of CPU time for each (default {MINUTES:g})")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), help="run this one, again if need be")
    parser.add_argument("--config", type=Path, default=CONFIG, help="of ours (default configs/mnist.yaml)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", dest="changes",
                        help="change a field of it; any number of times")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=cores(), help="side by side (default: the number of cores)")
    parser.add_argument("--out", type=Path, default=default_out(), help="folder of the curves (default %(default)s)")
    parser.add_argument("--samples", type=int, default=0, help="images to keep of each, for python -m ddpm judge")
    parser.add_argument("--alone", choices=list(CONTENDERS), help=argparse.SUPPRESS)  # the process of one contender
    arguments = parser.parse_args()
    plan = Plan(arguments.out, arguments.minutes, arguments.config, tuple(arguments.changes), arguments.samples)
    if arguments.alone:
        run_contender(CONTENDERS[arguments.alone], plan)
        return
    our_config(plan.config, plan.changes)  # a fault of the config is told before anybody trains
    curves = measure(plan, arguments.jobs, arguments.only)
    marks = [mark for mark in PEERS_MARKS if mark < arguments.minutes] + [arguments.minutes]
    print("| eps-MSE after | " + " | ".join(f"{mark:g} min" for mark in marks) + " | steps | setting |")
    print("|---" * (len(marks) + 3) + "|")
    for key, curve in curves.items():
        cells = [f"{curve.after(mark):.5f}" for mark in marks] + [str(curve.points[-1].steps), curve.setting]
        print(f"| {key} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
