"""How well a model edits: ``python -m benchmarks.editing``, all of it or one ``--only``.

``invert``: 1,000 test digits to noise and back, PSNR over steps and rounds. ``repair``: 500 test digits, a quarter or
half of each painted over, its class given: how many are read as it. ``sketch``: 200 rough sketches of digits, made from
skeletons of strokes: how often the result is read as what was sketched, over the strength.
"""

from __future__ import annotations

import argparse
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ddpm import editing
from ddpm.config import SamplingConfig, sampling_settings
from ddpm.data import ImageSet, load_dataset, to_float
from ddpm.evaluation.calibration import psnr
from ddpm.evaluation.classifier import classify
from ddpm.media.strokes import Stroke, draw_strokes, read_strokes
from ddpm.models import Model, load_model
from ddpm.samplers import Step
from ddpm.sampling import sample

BATCH = 100
SKELETONS = (
    "80:500,180;360,270;310,500;360,730;500,820;640,730;690,500;640,270;500,180",
    "80:420,300;540,190;540,820",
    "80:320,330;400,200;560,180;670,280;640,430;480,620;310,800;700,800",
    "80:330,250;480,170;640,220;660,350;560,460;440,480|80:440,480;620,530;690,660;610,790;450,830;310,770",
    "80:400,180;300,560;720,560|80:590,380;570,840",
    "80:660,190;380,190;350,470;520,430;670,540;670,710;540,820;330,790",
    "80:600,180;430,320;330,560;370,750;510,820;650,730;640,580;500,510;360,600",
    "80:310,210;700,210;560,500;450,830",
    "80:500,480;360,370;380,230;510,170;640,240;630,370;500,480;350,620;360,760;500,830;650,750;650,610;500,480",
    "80:650,330;530,190;380,240;350,390;460,480;600,440;650,330;640,600;560,830",
)
"""Of the digits 0 to 9, as ``ddpm.media.strokes`` writes them."""


def rough(digit: int, rng: random.Random) -> list[Stroke]:
    """A skeleton as a hurried hand draws it: turned, stretched, shifted, every point a little off, thick or thin."""
    turn, width = rng.gauss(0, 0.18), rng.randint(60, 120)
    stretch = rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1)
    shift = rng.gauss(0, 45), rng.gauss(0, 45)

    def moved(point: tuple[int, int]) -> tuple[int, int]:
        x, y = ((value - 500) * by for value, by in zip(point, stretch, strict=True))
        x, y = x - turn * y, y + turn * x
        return tuple(
            round(min(1000, max(0, v + 500 + by + rng.gauss(0, 35)))) for v, by in zip((x, y), shift, strict=True)
        )

    return [Stroke(width, tuple(map(moved, points))) for _, points in read_strokes(SKELETONS[digit])]


def sketches(model: Model, count: int) -> tuple[Tensor, Tensor]:
    """Rough sketches of all digits in turn, (N, 1, H, W) in [-1, 1], and what they are."""
    rng, size = random.Random(0), model.config.data.image_size
    digits = torch.arange(count) % 10
    return torch.stack([draw_strokes(rough(int(digit), rng), size) for digit in digits]) * 2 - 1, digits


def read(images: Tensor) -> Tensor:
    return classify(images.clamp(-1, 1)).argmax(1)


def in_batches(make: Callable[[slice], Iterator[Step]], count: int) -> Tensor:
    parts = [slice(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
    return torch.cat([deque(make(part), maxlen=1).pop().x0 for part in parts])


def settings_of(model: Model, steps: int, **more: object) -> SamplingConfig:
    return sampling_settings(model.config, num_steps=steps, **more)


def invert(model: Model, images: ImageSet) -> None:
    x0, labels = to_float(images.images), images.labels
    print("| steps | rounds | evaluations | PSNR of the round trip |\n|---|---|---|---|")
    for steps in (20, 50):
        for rounds in (1, editing.INVERSION_ROUNDS):
            settings = settings_of(model, steps)

            def there_and_back(part: slice, settings=settings, rounds=rounds) -> Iterator[Step]:
                asked = {"labels": labels[part].tolist(), "settings": settings}
                noise = deque(editing.invert(model, x0[part], rounds=rounds, **asked), maxlen=1).pop().x_t
                plain = asked | {"settings": editing.redrawing(settings)}
                return sample(model, len(noise), noise=lambda: noise, **plain)

            back = in_batches(there_and_back, len(x0)).clamp(-1, 1)
            print(
                f"| {steps} | {rounds} | {rounds * steps} + {steps} | {psnr(back, x0).mean().item():.1f} dB |",
                flush=True,
            )


def repair(model: Model, images: ImageSet, steps: int) -> None:
    x0, labels = to_float(images.images), images.labels
    size = x0.shape[-1]
    generator = torch.Generator().manual_seed(0)
    print("| painted over | repeats | read as their class |\n|---|---|---|")
    for name, side in (("a quarter", size // 2), ("half", round(size * 0.5**0.5))):
        corners = torch.randint(0, size - side + 1, (len(x0), 2), generator=generator).tolist()
        mask = torch.zeros(len(x0), 1, size, size, dtype=torch.bool)
        for one, (top, left) in zip(mask, corners, strict=True):
            one[:, top : top + side, left : left + side] = True
        for repeats in (1, 4):

            def mend(part: slice, mask=mask, repeats=repeats) -> Iterator[Step]:
                return editing.inpaint(model, x0[part], mask[part], repeats=repeats, labels=labels[part].tolist(),
                                       settings=settings_of(model, steps, sampler="ddpm"))  # fmt: skip

            right = (read(in_batches(mend, len(x0))) == labels).double().mean().item()
            print(f"| {name} | {repeats} | {right:.1%} |", flush=True)


def sketch(model: Model, count: int, steps: int) -> None:
    drawn, digits = sketches(model, count)
    print(f"the sketches themselves are read as what they are: {(read(drawn) == digits).double().mean().item():.1%}")
    print("| strength | class given | no class | PSNR to the sketch, class given |\n|---|---|---|---|")
    for tenth in range(1, 11):
        shares, near = [], 0.0
        for labels in (digits, None):

            def made(part: slice, labels=labels, strength=tenth / 10) -> Iterator[Step]:
                asked = None if labels is None else labels[part].tolist()
                return editing.sketch(model, drawn[part], strength, labels=asked, settings=settings_of(model, steps))

            found = in_batches(made, count)
            near = near or psnr(found.clamp(-1, 1), drawn).mean().item()
            shares.append(f"{(read(found) == digits).double().mean().item():.1%}")
        print(f"| {tenth / 10:.1f} | {' | '.join(shares)} | {near:.1f} dB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.editing", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mnist")
    parser.add_argument("--steps", type=int, default=20, help="of repair and sketch (default 20)")
    parser.add_argument("--only", action="append", choices=["invert", "repair", "sketch"])
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    test = load_dataset(model.config.data, "test")
    works = {
        "invert": partial(invert, model, test[:1000]),
        "repair": partial(repair, model, test[:500], arguments.steps),
        "sketch": partial(sketch, model, 200, arguments.steps),
    }
    for name in arguments.only or works:
        works[name]()


if __name__ == "__main__":
    main()
