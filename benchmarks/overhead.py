"""What training and sampling cost beyond the network, and how long a checkpoint blocks.

python -m benchmarks.overhead

On configs/mnist.yaml: a complete step as ``Run.events`` takes it (batch, noise, loss, EMA, record, status) against a
bare one (forward, backward, clipping, optimizer) on a batch of the same size in the same precision. The two take turns,
step by step, so that whatever else the machine does slows both alike. MNIST is read from $DDPM_DATA_DIR; without it,
random images of its shape cost the same. Sampling takes turns with the same calls of the network without a sampler.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

from ddpm import models
from ddpm.config import Config, load_config, sampling_settings
from ddpm.data import ImageSet, load_dataset
from ddpm.device import over_cores
from ddpm.errors import DataError
from ddpm.files import RunFolder
from ddpm.models import load_model
from ddpm.sampling import generate
from ddpm.training.checkpoint import save_checkpoint, save_ema
from ddpm.training.loop import TrainState
from ddpm.training.run import Run

from .machine import Machine
from .rows import Row, interleaved

CONFIG = Path(__file__).parent.parent / "configs" / "mnist.yaml"
STEPS = 5  # of a round; each round writes a record, which is four times as often as the config asks for
GOAL_RATIO, GOAL_SAMPLING, GOAL_SECONDS = 1.05, 1.03, 1.0


def images_of(config: Config) -> ImageSet:
    try:
        return load_dataset(config.data, "train", download=False)
    except DataError:
        print("no MNIST in $DDPM_DATA_DIR: random images of its shape")
        images = torch.randint(256, (1024, *config.image_shape), dtype=torch.uint8)
        return ImageSet(images, torch.arange(1024) % config.model.num_classes)


def bare_step(config: Config) -> Callable[[], None]:
    """A step of a network of its own on prepared input."""
    state, shape = TrainState(config), (config.training.batch_size, *config.image_shape)
    x_t, wanted = torch.randn(shape, device=state.device), torch.randn(shape, device=state.device)
    t = torch.randint(config.schedule.num_timesteps, shape[:1], device=state.device)
    y = torch.randint(config.model.num_classes, shape[:1], device=state.device)
    state.model.train()

    def step() -> None:
        with torch.autocast(state.device.type, state.precision, enabled=state.precision != torch.float32):
            output = state.model(x_t, t, y)
        state.optimizer.zero_grad(set_to_none=True)
        F.mse_loss(output.float(), wanted).backward()
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.training.grad_clip)
        state.optimizer.step()

    return step


class Turns:
    """Asked after every complete step whether to stop, it takes a bare one, and the time of both."""

    def __init__(self, bare: Callable[[], None], steps: int):
        self.bare, self.steps = bare, steps
        self.complete_seconds, self.bare_seconds = [], []
        self.left = self.now()

    def now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self) -> bool:
        entered = self.now()
        self.bare()
        done = self.now()
        self.complete_seconds.append(entered - self.left)
        self.bare_seconds.append(done - entered)
        self.left = done
        return len(self.bare_seconds) == self.steps


def per_step(seconds: list[float]) -> list[float]:
    """The mean step of every round but the first, which warms up."""
    return [sum(seconds[i : i + STEPS]) / STEPS for i in range(STEPS, len(seconds), STEPS)]


def seconds_to_save(state: TrainState, folder: RunFolder) -> float:
    def once() -> float:
        start = time.perf_counter()
        save_checkpoint(state, folder.checkpoint("latest"))
        save_ema(state, folder.checkpoint("ema"))
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(5))


def training_rounds(
    rounds: int, folder: RunFolder, settings: Sequence[str] = ()
) -> tuple[TrainState, list[float], list[float]]:
    """The state that was trained, and the seconds of a complete and of a bare step in every round that counts."""
    config = load_config(CONFIG, [f"training.log_every={STEPS}", "training.val_every=1000000", *settings])
    images = images_of(config)
    with Run(config, folder, data=(images, images[:64])) as run:
        turns = Turns(bare_step(config), STEPS * (rounds + 1))
        for _ in run.events(turns):
            pass
    return run.state, per_step(turns.complete_seconds), per_step(turns.bare_seconds)


class Recorded:
    """The calls of a network that sampling makes, to be made again without the sampler, over the same cores."""

    def __init__(self, draw: Callable[[], object]):
        self.calls: list[tuple[Callable, tuple]] = []
        with mock.patch.object(models, "over_cores", self._recording):
            draw()
        if not self.calls:
            raise SystemExit("overhead: sampling did not call the model's network, so there is nothing to compare with")

    def _recording(self, network: Callable) -> Callable:
        shared = over_cores(network)

        def call(*batch):
            self.calls.append((shared, batch))
            return shared(*batch)

        return call

    def __call__(self) -> None:
        with torch.inference_mode():
            for network, batch in self.calls:
                network(*batch)


def sampling_rounds(rounds: int, count: int = 16, steps: int = 50) -> tuple[list[float], list[float]]:
    """The seconds of sampling, and of the network's share of it, in every round that counts."""
    model = load_model("mnist")
    settings = sampling_settings(model.config, sampler="ddim", num_steps=steps, guidance_scale=1.0)

    def draw() -> None:
        generate(model, count, settings=settings)

    seconds = interleaved({"complete": draw, "bare": Recorded(draw)}, rounds)
    return seconds["complete"], seconds["bare"]


def percent(complete: list[float], bare: list[float]) -> list[float]:
    """What the complete work takes beyond the bare one, in every round."""
    return [100 * (whole / part - 1) for whole, part in zip(complete, bare, strict=True)]


def rows(machine: Machine, quick: bool) -> list[Row]:
    count, steps, rounds = (16, 20, 3) if quick else (16, 50, 9)
    sampling = percent(*sampling_rounds(rounds, count, steps))
    batch, training_count = (32, 3) if quick else (load_config(CONFIG).training.batch_size, 7)
    with tempfile.TemporaryDirectory() as outputs:
        folder = RunFolder(Path(outputs) / "overhead")
        training = percent(*training_rounds(training_count, folder, [f"training.batch_size={batch}"])[1:])
    return [
        Row.measured("overhead", f"sampling beyond the network: {count} images, DDIM {steps} steps", "%", sampling),
        Row.measured(
            "overhead",
            f"a training step, batch of {batch}, beyond forward, backward, clipping, optimizer",
            "%",
            training,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help=f"rounds of {STEPS} steps that count (default 9)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as outputs:
        folder = RunFolder(Path(outputs) / "overhead")
        state, *seconds = training_rounds(rounds, folder)
        saving = seconds_to_save(state, folder)
    complete, bare = (statistics.median(one) for one in seconds)
    where = f"{state.device}, {torch.get_num_threads()} threads, {str(state.precision).removeprefix('torch.')}"
    print(f"{where}, batch of {state.config.training.batch_size}")
    print(f"a step: complete {complete * 1e3:.1f} ms, bare {bare * 1e3:.1f} ms, ratio {complete / bare:.3f}"
          f" (goal: at most {GOAL_RATIO})")  # fmt: skip
    print(f"saving: latest.pt and ema.pt block for {saving:.2f} s (goal: less than {GOAL_SECONDS:.0f} s)")
    complete, bare = (statistics.median(one) for one in sampling_rounds(rounds))
    print(f"sampling: complete {complete:.2f} s, the network alone {bare:.2f} s, ratio {complete / bare:.3f}"
          f" (goal: at most {GOAL_SAMPLING})")  # fmt: skip


if __name__ == "__main__":
    main()
