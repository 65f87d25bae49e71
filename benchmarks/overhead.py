"""What a training step costs beyond the network, and how long a checkpoint blocks: ``python -m benchmarks.overhead``.

On configs/mnist.yaml: a complete step as ``Run.events`` takes it (batch, noise, loss, EMA, record, status) against a
bare one (forward, backward, clipping, optimizer) on a batch of the same size in the same precision. The two take turns,
step by step, so that whatever else the machine does slows both alike. MNIST is read from $DDPM_DATA_DIR; without it,
random images of its shape cost the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from ddpm.config import Config, load_config
from ddpm.data import ImageSet, load_dataset
from ddpm.errors import DataError
from ddpm.files import RunFolder
from ddpm.training.checkpoint import save_checkpoint, save_ema
from ddpm.training.loop import TrainState
from ddpm.training.runs import Run

CONFIG = Path(__file__).parent.parent / "configs" / "mnist.yaml"
STEPS = 5  # of a round; each round writes a record, which is four times as often as the config asks for
GOAL_RATIO, GOAL_SECONDS = 1.05, 1.0


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


def per_step(seconds: list[float]) -> float:
    """The median over rounds of the mean step; the first round warms up."""
    rounds = [seconds[i : i + STEPS] for i in range(STEPS, len(seconds), STEPS)]
    return statistics.median(sum(one) / STEPS for one in rounds)


def seconds_to_save(state: TrainState, folder: RunFolder) -> float:
    def once() -> float:
        start = time.perf_counter()
        save_checkpoint(state, folder.checkpoint("latest"))
        save_ema(state, folder.checkpoint("ema"))
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help=f"rounds of {STEPS} steps that count (default 9)")
    rounds = parser.parse_args().rounds
    config = load_config(CONFIG, [f"training.log_every={STEPS}", "training.val_every=1000000"])
    images = images_of(config)
    with tempfile.TemporaryDirectory() as outputs:
        folder = RunFolder(Path(outputs) / "overhead")
        with Run(config, folder, data=(images, images[:64])) as run:
            turns = Turns(bare_step(config), STEPS * (rounds + 1))
            for _ in run.events(turns):
                pass
        complete, bare = per_step(turns.complete_seconds), per_step(turns.bare_seconds)
        saving = seconds_to_save(run.state, folder)
    where = f"{run.state.device}, {torch.get_num_threads()} threads, {str(run.state.precision).removeprefix('torch.')}"
    print(f"{where}, batch of {config.training.batch_size}")
    print(f"a step: complete {complete * 1e3:.1f} ms, bare {bare * 1e3:.1f} ms, ratio {complete / bare:.3f}"
          f" (goal: at most {GOAL_RATIO})")  # fmt: skip
    print(f"saving: latest.pt and ema.pt block for {saving:.2f} s (goal: less than {GOAL_SECONDS:.0f} s)")


if __name__ == "__main__":
    main()
