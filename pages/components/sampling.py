"""Sampling on the pages: a request, its run, and the same thing as code."""

import math
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ddpm.config import SamplingConfig
from ddpm.data import to_float
from ddpm.deploy.public import check_images, check_memory, most_images
from ddpm.errors import ConfigError
from ddpm.evaluation.classifier import DATA as CLASSIFIED
from ddpm.evaluation.classifier import classify
from ddpm.media.images import Trajectory, gif_bytes
from ddpm.models import Model
from ddpm.names import labels_text
from ddpm.samplers import SAMPLERS, Step
from ddpm.sampling import evaluations, sample
from ddpm.schedule import NoiseSchedule

from .models import computing
from .player import frames_of
from .turns import Turn

MAX_IMAGES = 64
FRAME_BYTES = 2_000_000  # of all recorded frames together; they travel to the browser


@dataclass(frozen=True)
class Request:
    """Everything that decides a picture.

    Raises:
        ConfigError: a number of images that no widget allows.
    """

    reference: str
    count: int
    labels: tuple[int, ...] | None
    settings: SamplingConfig
    seed: int
    rolled: tuple[tuple[int, int], ...] = ()
    """(image, how often it was re-rolled), each at most once."""

    def __post_init__(self):
        if not 1 <= self.count <= MAX_IMAGES:
            raise ConfigError(f"the number of images must be 1 to {MAX_IMAGES}, got {self.count}")

    def evaluations_of_each(self, schedule: NoiseSchedule) -> int:
        """Network evaluations per image."""
        return evaluations(self.settings, schedule, guided=self.labels is not None)

    def check(self, model: Model) -> None:
        """Refuse more than one request may ask for here, see ``ddpm.deploy.public``.

        Raises:
            ConfigError: says how many images are possible.
        """
        check_images(self.count, self.evaluations_of_each(model.schedule), math.prod(model.config.image_shape))
        check_memory(self.count, model)

    def most_images(self, model: Model) -> int | None:
        """How many images with these settings are possible here; None if only ``MAX_IMAGES`` limits them."""
        return most_images(self.evaluations_of_each(model.schedule), math.prod(model.config.image_shape))

    @property
    def indices(self) -> list[int]:
        """Which images of the seed's set are drawn. A re-rolled image is one further on that has the same class."""
        classes = len(self.labels or (0,))
        stride = classes * math.ceil(MAX_IMAGES / classes)
        rolled = dict(self.rolled)
        return [k + stride * rolled.get(k, 0) for k in range(self.count)]

    def command_line(self, model: Model) -> str:
        words = ["python", "-m", "ddpm", "sample", "grid", "--model", self.reference]
        words += ["--num-samples", str(self.count)]
        if self.rolled:
            words += ["--indices", ",".join(map(str, self.indices))]
        if self.labels is None or len(self.labels) < model.num_classes:  # all in turn is the default
            words += ["--labels", labels_text(model.class_names, self.labels)]
        words += [*settings_words(self.settings), "--seed", str(self.seed), "--out", f"{model.config.noun}s.png"]
        return shlex.join(words)

    def python(self, model: Model) -> str:
        labels = "None" if self.labels is None else str(list(self.labels))
        if self.labels and len(self.labels) == model.num_classes:
            labels = "range(model.num_classes)"
        named = f"  # {', '.join(map(model.class_name, self.labels))}" if self.labels and "[" in labels else ""
        return (
            "# from the repository's root\n"
            "import ddpm\n"
            "from ddpm.media.images import enlarge, make_grid, to_uint8\n\n"
            f"model = ddpm.load_model({self.reference!r})\n"
            f"settings = {settings_python(self.settings)}\n"
            f"which = {self.indices if self.rolled else f'range({self.count})'}  # of the images that this seed has\n"
            f"labels = {labels}{named}\n"
            f"for step in ddpm.sample(model, labels=labels, settings=settings, seed={self.seed}, indices=which):\n"
            "    print(step.t, end=' ')   # step.x_t is the noisy state, step.x0 the predicted clean image\n"
            f"enlarge(make_grid(to_uint8(step.x0))).save('{model.config.noun}s.png')\n"
        )


def settings_words(settings: SamplingConfig) -> list[str]:
    """How settings are asked for on the command line."""
    words = ["--sampler", settings.sampler, "--num-steps", str(settings.num_steps)]
    for option in SAMPLERS[settings.sampler].options:
        words += [f"--{option.replace('_', '-')}", str(getattr(settings, option))]
    words += ["--spacing", settings.spacing, "--guidance-scale", f"{settings.guidance_scale:g}"]
    if settings.guidance_interval:
        words += ["--guidance-interval", *map(str, settings.guidance_interval)]
    return words


def settings_python(settings: SamplingConfig) -> str:
    """How settings are made in Python."""
    return f"ddpm.SamplingConfig({', '.join(f'{name}={value!r}' for name, value in settings.model_dump().items())})"


@dataclass(frozen=True)
class Result:
    request: Request
    trajectory: Trajectory
    schedule: NoiseSchedule
    seconds: float | None
    """From the first noise to the last image; None if it came with the app."""
    probabilities: Tensor | None
    """The digit classifier's, for every predicted x0: (F, N, 10); None for images of another kind."""
    weights: str
    """SHA-256 of the weights that drew it."""

    @cached_property
    def frames(self) -> dict[str, Any]:
        """For the player."""
        return frames_of(self.trajectory, self.schedule)

    @cached_property
    def movie(self) -> bytes:
        """The way from noise to image as a GIF."""
        return gif_bytes(self.trajectory.grids())

    @property
    def size(self) -> int:
        """Approximately how many bytes it takes."""
        trajectory = self.trajectory
        tensors = [trajectory.x_t, trajectory.x0, trajectory.eps, trajectory.change, self.probabilities]
        encoded = (frame[kind] for frame in self.frames["frames"] for kind in ("x_t", "x0", "eps"))
        movie = len(self.__dict__.get("movie", b""))  # Home alone shows it
        return sum(tensor.nbytes for tensor in tensors if tensor is not None) + sum(map(len, encoded)) + movie

    @property
    def evaluations(self) -> int:
        """Images x network evaluations of each."""
        return self.request.count * self.request.evaluations_of_each(self.schedule)


def _probabilities(guesses: Tensor, model: Model) -> Tensor | None:
    if model.config.data.dataset != CLASSIFIED.dataset:
        return None
    return classify(to_float(guesses.flatten(0, 1))).view(*guesses.shape[:2], -1)


def run(
    request: Request,
    model: Model,
    on_step: Callable[[Step], None] = lambda step: None,
    on_wait: Callable[[str], None] | None = None,
) -> Result:
    """Sample a request when its turn comes, and pass every step to ``on_step``; ``on_wait`` is that of ``computing``.

    Raises:
        ConfigError: it asks for more than is allowed here, or for what the model cannot do.
    """
    request.check(model)
    steps = sample(model, labels=request.labels, settings=request.settings, seed=request.seed, indices=request.indices)
    work = request.count * request.evaluations_of_each(model.schedule)
    values = request.count * math.prod(model.config.image_shape)
    frames = max(21, min(101, FRAME_BYTES // values))
    with computing(request.reference, work, on_wait=on_wait) as turn:
        started = time.perf_counter()
        trajectory = Trajectory.from_steps(_told(steps, turn, on_step), request.settings.num_steps, frames)
        seconds = time.perf_counter() - started - turn.waited
        result = Result(request, trajectory, model.schedule, seconds, _probabilities(trajectory.x0, model),
                        model.sha256)  # fmt: skip
        result.frames  # noqa: B018 - encoded while nobody else computes
    return result


def _told(steps: Iterator[Step], turn: Turn, on_step: Callable[[Step], None]) -> Iterator[Step]:
    for step in steps:
        on_step(step)
        turn.give_way()
        yield step
