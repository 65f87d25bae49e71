"""Classic faults of diffusion models, made on purpose: each beside the same thing done right."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ddpm.config import Config, config_from_dict, sampling_settings
from ddpm.config.edit import with_overrides
from ddpm.config.sections import SamplingConfig
from ddpm.data import ImageSet, load_dataset
from ddpm.diffusion import Denoiser, q_posterior
from ddpm.errors import DDPMError
from ddpm.evaluation.doctor import Sign, looks_at
from ddpm.evaluation.sample_signs import examine_samples
from ddpm.media.images import to_uint8
from ddpm.models import Model
from ddpm.randomness import ImageNoise
from ddpm.samplers import Step, ddim, ddpm
from ddpm.sampling import generate
from ddpm.schedule import NoiseSchedule
from ddpm.spacing import spaced_timesteps
from ddpm.training.events import Progress
from ddpm.training.loop import TrainState, train

StepByStep = Callable[..., Iterator[Step]]
Pick = Callable[..., Any]
"""One of several values of what makes a fault; ``first`` takes that of the museum."""
SAMPLES = 60  # of a sampler that is looked at by its samples

BASE = config_from_dict({
    "name": "museum",
    "data": {"dataset": "digits", "image_size": 8, "channels": 1, "val_fraction": 0.1},
    "schedule": {"name": "linear"},
    "diffusion": {"prediction_type": "eps"},
    "model": {"base_channels": 16, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [4],
              "head_channels": 16, "num_classes": 10},
    "training": {"epochs": 30, "batch_size": 64, "learning_rate": 4e-3, "warmup_steps": 30, "ema_decay": 0.99,
                 "label_dropout": 0.15, "precision": "fp32", "device": "cpu", "log_every": 10, "val_every": 100_000,
                 "sample_every": 100_000},
    "sampling": {"sampler": "ddim", "num_steps": 20, "guidance_scale": 1.5},
})  # fmt: skip
"""A small model of 8 x 8 digits, which trains in a minute on one core."""


def first(*values: Any) -> Any:
    return values[0]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, read and sampled. By default, right."""

    config: tuple[str, ...] = ()
    """Overrides of the config, as on the command line."""
    images: Callable[[ImageSet], ImageSet] = field(default=lambda images: images)
    """Applied to the training images."""
    decay: float | None = None
    """Of a moving average without warm-up, in place of the library's."""
    reading: tuple[str, ...] = ()
    """Overrides after the training."""
    told: int = 0
    """Added to each timestep that the trained network is told."""
    step: StepByStep | None = None
    """A sampler that is seen by its samples, in place of the one that the settings name."""

    @property
    def trains(self) -> tuple:
        """What decides the weights."""
        return self.config, self.images, self.decay


@dataclass(frozen=True)
class Fault:
    """Something done wrong, the same done right, and the cause that the doctor has to name."""

    cause: str
    wrong: Recipe
    right: Recipe = Recipe()
    of_mnist: bool = False
    """It is one of sampling that shows in larger images: those of the shipped ``mnist``."""


@dataclass(frozen=True, eq=False)
class Made:
    """A model and how it is sampled."""

    model: Model
    settings: SamplingConfig
    step: StepByStep | None = None
    losses: tuple[tuple[int, float], ...] = ()
    """(step, loss) of its training."""

    def images(self, count: int, seed: int = 0) -> Tensor:
        """Samples of all classes in turn, (count, C, H, W) in [-1, 1]; of values that are no numbers, black ones."""
        labels = range(self.model.num_classes) if self.model.num_classes else None
        if self.step is None:
            return generate(self.model, count, labels=labels, settings=self.settings, seed=seed)
        denoise = self.model.denoiser(self.model.class_labels(labels, range(count)))
        schedule = self.model.schedule
        timesteps = spaced_timesteps(schedule.num_timesteps, self.settings.num_steps, self.settings.spacing)
        noise = ImageNoise(seed, range(count), self.model.config.image_shape, self.model.device)
        with torch.no_grad():
            last = deque(self.step(denoise, schedule, timesteps, noise), maxlen=1).pop()
        return last.x0.clamp(-1, 1).nan_to_num(-1.0)

    def signs(self) -> Iterator[Sign]:
        """What the doctor sees, one sign after the other: in the model, or, where the sampler is not the library's, in
        its samples."""
        if self.step is None:
            yield from looks_at(self.model, self.settings)
            return
        labels = self.model.class_labels(range(self.model.num_classes), range(SAMPLES))
        images = to_uint8(self.images(SAMPLES))[:, 0].numpy()
        yield from examine_samples(ImageSet.from_arrays(images, labels.numpy()), self.model.config.data.dataset)


# -- the faults ----------------------------------------------------------------------------------------------------


def misread(pick: Pick) -> Fault:
    reading = (f"diffusion.prediction_type={pick('x0', 'v', 'eps')}",)
    return Fault("the output is read as what it is not", Recipe(reading=reading))


def unclipped(pick: Pick) -> Fault:
    guidance = f"sampling.guidance_scale={pick(3, 2, 4)}"
    clipped, free = ((guidance, f"sampling.clip={clip}") for clip in ("true", "false"))
    return Fault("predictions leave the range of images", Recipe(reading=free), Recipe(reading=clipped))


def signal(pick: Pick) -> Fault:
    wrong = ("schedule.name=linear", f"schedule.beta_end={pick(0.004, 0.003, 0.005)}")
    return Fault("the schedule leaves signal at its end", Recipe(wrong))


def short(pick: Pick) -> Fault:
    steps = pick(10, 20, 30)
    both = (f"schedule.num_timesteps={steps}", f"sampling.num_steps={steps}")
    return Fault("the schedule leaves signal at its end", Recipe((*both, "schedule.name=linear")),
                 Recipe((*both, "schedule.name=cosine")))  # fmt: skip


def leading(pick: Pick) -> Fault:
    steps = f"sampling.num_steps={pick(5, 3, 4)}"
    return Fault("the first step is not at T - 1", Recipe(reading=(steps, "sampling.spacing=leading")),
                 Recipe(reading=(steps, "sampling.spacing=trailing")), of_mnist=True)  # fmt: skip


def levels(pick: Pick) -> Fault:
    return Fault("the images had another range in training", Recipe(images=from_zero))


def from_zero(images: ImageSet) -> ImageSet:
    """Levels 0 to 255, which training reads as [-1, 1], as those of [0, 1]."""
    return replace(images, images=(images.images.float() / 2 + 127.5).round().byte())


def slow_average(pick: Pick) -> Fault:
    return Fault("the average of the weights has not caught up", Recipe(decay=pick(0.9999, 0.9995, 0.99995)))


def rate(pick: Pick) -> Fault:
    wrong = (f"training.learning_rate={pick(0.1, 0.06, 0.2)}",)
    return Fault("it has learned too little, or its training diverged", Recipe(wrong))


def undropped(pick: Pick) -> Fault:
    both = f"sampling.guidance_scale={pick(3, 2, 4)}"
    return Fault("guidance needs a network that knows images without a label",
                 Recipe(("training.label_dropout=0",), reading=(both,)), Recipe(reading=(both,)))  # fmt: skip


def guidance(pick: Pick) -> Fault:
    wrong = (f"sampling.guidance_scale={pick(12, 8, 10, 15, 20)}",)
    return Fault("guidance is far too high", Recipe(reading=wrong))


def mirrored(pick: Pick) -> Fault:
    return Fault("it was trained on mirrored images", Recipe(("data.horizontal_flip=true",)))


def off_by_one(pick: Pick) -> Fault:
    both, steps = "schedule.name=cosine", pick(20, 10, 15)
    both = (both, f"schedule.num_timesteps={steps}", f"sampling.num_steps={steps}")
    return Fault("timesteps are counted from another number", Recipe(both, told=pick(1, -1)), Recipe(both))


def few_images(pick: Pick) -> Fault:
    wrong = (f"training.epochs={pick(500, 400, 600)}",)
    return Fault("it remembers its training images", Recipe(wrong, images=first_few))


def first_few(images: ImageSet) -> ImageSet:
    return images[:128]


def ddim_by_beta(denoise: Denoiser, schedule: NoiseSchedule, timesteps: Sequence[int], noise: Callable) -> Iterator:
    """DDIM whose fresh noise has the variance beta: more than is left at the end, and the root of a negative number."""
    x = noise()
    for index, (t, s) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        ab_t, ab_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
        variance = torch.tensor(1 - ab_t / ab_s)
        x = math.sqrt(ab_s) * x0 + torch.sqrt(1 - ab_s - variance) * eps + variance.sqrt() * noise()
        yield Step(index, s, x, x, eps)


def noise_to_the_end(denoise: Denoiser, schedule: NoiseSchedule, timesteps: Sequence[int], noise: Callable) -> Iterator:
    """DDPM that adds noise in its last step, too."""
    x = noise()
    for index, (t, s) in enumerate(pairwise([*timesteps, -1])):
        x0, eps = denoise(x, t)
        mean, variance = q_posterior(schedule, x0, x, t, s)
        beta = 1 - schedule.alpha_bar(t) / schedule.alpha_bar(s)
        x = mean + math.sqrt(variance or beta) * noise()  # the posterior's own is 0 in the last step
        yield Step(index, s, x, x, eps)


def negative_root(pick: Pick) -> Fault:
    steps = f"sampling.num_steps={pick(20, 10, 15)}"
    return Fault("images hold no content", Recipe(reading=(steps,), step=ddim_by_beta),
                 Recipe(reading=(steps,), step=partial(ddim, eta=1.0)), of_mnist=True)  # fmt: skip


def last_noise(pick: Pick) -> Fault:
    steps = f"sampling.num_steps={pick(25, 20, 30)}"
    return Fault("noise is left", Recipe(reading=(steps,), step=noise_to_the_end),
                 Recipe(reading=(steps,), step=ddpm), of_mnist=True)  # fmt: skip


KINDS: dict[str, Callable[[Pick], Fault]] = {
    kind.__name__: kind
    for kind in (misread, unclipped, signal, short, leading, levels, slow_average, rate, undropped, guidance, mirrored,
                 off_by_one, few_images, negative_root, last_noise)
}  # fmt: skip


# -- making them ---------------------------------------------------------------------------------------------------


class Told(nn.Module):
    """A network that is told another timestep."""

    def __init__(self, network: nn.Module, shift: int, num_timesteps: int):
        super().__init__()
        self.network, self.shift, self.last = network, shift, num_timesteps - 1
        self.null_label = network.null_label

    def forward(self, x_t: Tensor, t: Tensor, *given: Tensor) -> Tensor:
        return self.network(x_t, (t + self.shift).clamp(0, self.last), *given)


def trained(recipe: Recipe, base: Config = BASE) -> Made:
    """Train as a recipe says, wrong or right."""
    config = with_overrides(base, list(recipe.config))
    if recipe.decay:
        config = with_overrides(config, ["training.log_every=1"])
    images, held_out = load_dataset(config.data, "train"), load_dataset(config.data, "val")
    state, losses = TrainState(config), []
    average = [value.clone() for value in state.model.state_dict().values()]
    events = train(state, recipe.images(images), held_out)
    try:
        for event in events:
            if isinstance(event, Progress):
                losses.append((event.step, event.train_loss))
                if recipe.decay:
                    torch._foreach_lerp_(average, list(state.model.state_dict().values()), 1 - recipe.decay)
    except DDPMError:
        losses.append((state.step, math.nan))  # it diverged, and stopped itself
    network = state.ema.model
    if recipe.decay:
        network.load_state_dict(dict(zip(network.state_dict(), average, strict=True)))
    model = Model(config, network.eval().requires_grad_(False), config.name)
    return Made(model, config.sampling, losses=tuple(losses))


def used(recipe: Recipe, of: Made) -> Made:
    """The same model, read and sampled as a recipe says."""
    config = with_overrides(of.model.config, list(recipe.reading))
    network = of.model.network
    if recipe.told:
        network = Told(network, recipe.told, of.model.schedule.num_timesteps)
    model = Model(config, network, of.model.source)
    return replace(of, model=model, settings=sampling_settings(config), step=recipe.step)
