"""What compiling the network brings: ``python -m benchmarks.compiled``, on a GPU with ``--device cuda``.

One training and one grid of images, each with the network compiled and without, in turns. The price comes first: what
the first turn took, in which it is compiled. How far the two are apart is printed as well, and should be rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ddpm.config import load_config
from ddpm.data import load_dataset
from ddpm.device import PRECISIONS
from ddpm.models import load_model
from ddpm.sampling import generate
from ddpm.training.loop import TrainState, train

from .contenders import CONFIG, NEVER, SHIPPED, OurTraining
from .machine import this_machine
from .rows import Row, interleaved, table

NAMES = {"compiled": True, "not compiled": False}
PEER = "ours, not compiled"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG, help="what to train")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of training in a round")
    parser.add_argument("--images", type=int, default=64, help="drawn in a round, in 50 steps of DDIM")
    arguments = parser.parse_args()
    print(this_machine(), flush=True)
    rows = [training_row(arguments), sampling_row(arguments)]
    print(f"\n{table(rows)}")


def training_row(arguments: argparse.Namespace) -> Row:
    trainings = {name: training(arguments, compiled) for name, compiled in NAMES.items()}
    works = {name: partial(synchronous, one.go_on) for name, one in trainings.items()}
    seconds = in_turns("training", works, arguments.rounds)
    batch = trainings["compiled"].state.config.training.batch_size
    ours, theirs = ([p.detach().cpu() for p in one.state.model.parameters()] for one in trainings.values())
    moved = torch.linalg.vector_norm(torch.cat([p.flatten() for p in ours])).item()
    apart = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    print(f"weights after the same steps: at most {apart:.1e} apart, of a norm of {moved:.3g}", flush=True)
    speeds = ([batch * arguments.steps / one for one in found] for found in seconds.values())
    what = f"{arguments.config.stem}, batch of {batch}, {arguments.device}, {arguments.precision}"
    return Row.measured("train", what, "images/s", *speeds, peer_name=PEER)


def training(arguments: argparse.Namespace, compiled: bool) -> OurTraining:
    settings = {
        "compile": str(compiled).lower(), "device": arguments.device, "precision": arguments.precision,
        "epochs": 1000, "log_every": arguments.steps, "val_every": NEVER, "sample_every": NEVER,
    }  # fmt: skip
    config = load_config(arguments.config, [f"training.{name}={value}" for name, value in settings.items()])
    images = load_dataset(config.data, "train")
    state = TrainState(config)
    return OurTraining(state, train(state, images, images[:64]))


def sampling_row(arguments: argparse.Namespace) -> Row:
    plain, drawn = load_model(SHIPPED, arguments.device), {}
    models = {"compiled": plain.compiled(), "not compiled": plain}

    def draw(name: str) -> None:
        drawn[name] = generate(
            models[name], arguments.images, labels=range(plain.num_classes), precision=arguments.precision,
            batch_size=arguments.images,
        )  # fmt: skip

    works = {name: partial(synchronous, partial(draw, name)) for name in models}
    seconds = in_turns("sampling", works, arguments.rounds)
    apart = 127.5 * (drawn["compiled"] - drawn["not compiled"]).abs().max().item()
    print(f"pictures of the same noise: at most {apart:.2f} of 255 levels apart", flush=True)
    sampling = plain.config.sampling
    what = (
        f"{SHIPPED}, {arguments.images} images, {sampling.sampler} {sampling.num_steps} steps, "
        f"guidance {sampling.guidance_scale:g}, {arguments.device}, {arguments.precision}"
    )
    return Row.measured("sample", what, "s", *seconds.values(), peer_name=PEER)


def in_turns(what: str, works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds of every round but the first, whose are printed."""
    first = interleaved(works, 1, warm_up=False)
    print(f"{what}, first turn: " + ", ".join(f"{name} {took[0]:.1f} s" for name, took in first.items()), flush=True)
    return interleaved(works, rounds)


def synchronous(work: Callable[[], object]) -> None:
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
