"""Sampling on the pages: a request, its run with progress and preview, and the same thing as code."""

import math
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import streamlit as st
from torch import Tensor

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.config.settings import Setting, sampler_settings
from ddpm.data import to_float
from ddpm.deploy.public import check_images, check_memory, most_images
from ddpm.errors import ConfigError
from ddpm.evaluation.classifier import DATA as CLASSIFIED
from ddpm.evaluation.classifier import classify
from ddpm.media.images import Trajectory, gif_bytes
from ddpm.models import NO_CLASS, Model
from ddpm.names import either, labels_text
from ddpm.samplers import SAMPLERS, Step
from ddpm.sampling import evaluations, sample
from ddpm.schedule import NoiseSchedule
from ddpm.spacing import SPACINGS

from .classes import ALL, texts
from .models import computing
from .player import frames_of
from .turns import Turn

STEPS = (2, 3, 5, 8, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 500, 1000)
MAX_IMAGES = 64
FRAME_BYTES = 2_000_000  # of all recorded frames together; they travel to the browser


def sampler_controls(model: Model, prefix: str, with_class: bool) -> SamplingConfig:
    """Widgets for how a model is sampled, bound to the URL under ``prefix``; the model's own settings are the defaults.

    ``with_class`` says whether a class is asked for: without one there is nothing to guide towards.

    Raises:
        ConfigError: a URL asks for what the model cannot do.
    """

    def bound(name: str) -> dict[str, str]:
        return {"key": f"{prefix}_{name}", "bind": "query-params"}

    own, chosen = model.config.sampling, {}
    if counts := model.config.model.step_counts:
        chosen["num_steps"] = st.select_slider(
            "Steps", counts, own.num_steps, help="Each costs one network evaluation per image.", **bound("steps")
        )
        st.caption(
            f"A distilled model: it has learned to do in {either(counts)} steps of DDIM what its teacher does in many. "
            "The teacher's guidance is built in."
        )
        return sampling_settings(model.config, **chosen)
    asked = st.query_params.get(f"{prefix}_steps", "")
    linked = {int(asked)} & set(range(1, model.schedule.num_timesteps + 1)) if asked.isdecimal() else set()
    chosen["sampler"] = st.selectbox(
        "Sampler",
        list(SAMPLERS),
        list(SAMPLERS).index(own.sampler),
        format_func=lambda name: SAMPLERS[name].label,
        help="\n".join(f"- **{sampler.label}**: {sampler.about}" for sampler in SAMPLERS.values()),
        **bound("sampler"),
    )
    chosen["num_steps"] = st.select_slider(
        "Steps",
        sorted({own.num_steps, *linked, *(n for n in STEPS if n <= model.schedule.num_timesteps)}),
        own.num_steps,
        help="Timesteps that the sampler visits. Each costs one network evaluation per image, two with Heun, and "
        "twice that under guidance. More is slower and usually better; this model was trained with "
        f"T = {model.schedule.num_timesteps}.",
        **bound("steps"),
    )
    for setting in sampler_settings(chosen["sampler"]):
        default = getattr(own, setting.name, setting.default)  # a model may be from before the sampler was registered
        chosen[setting.name] = _option(setting, default, bound(setting.name))
    chosen["spacing"] = st.selectbox(
        "Timestep spacing",
        SPACINGS,
        SPACINGS.index(own.spacing),
        help="Which timesteps are visited. Trailing starts at T - 1, where the noise is strongest; leading ends at 0 "
        "but starts below T - 1, where training saw a little signal; linspace has both ends (Lin et al. 2024); "
        "quadratic starts at T - 1 and takes smaller steps where there is less noise (Song et al. 2021).",
        **bound("spacing"),
    )
    if model.num_classes:
        chosen["guidance_scale"] = st.slider(
            "Guidance",
            0.0,
            6.0,
            own.guidance_scale,
            0.25,
            disabled=not with_class,
            help="Prediction = without class + w x (with class - without). 0 ignores the class, 1 follows it plainly, "
            "above 1 exaggerates it: clearer images, more alike, at two evaluations per step. Ho & Salimans 2022 count "
            "from 0: their w is this one less 1.",
            **bound("guidance"),
        )
        last = model.schedule.num_timesteps - 1
        interval = st.slider(
            "Guidance acts at t",
            0,
            last,
            own.guidance_interval or (0, last),
            disabled=not with_class or chosen["guidance_scale"] == 1,
            help="The timesteps at which guidance acts; outside of them it is 1. Leaving out the noisiest ones keeps "
            "more variety, leaving out the cleanest ones costs nothing but their time (Kynkäänniemi et al. 2024).",
            **bound("interval"),
        )
        if own.guidance_interval or interval != (0, last):
            chosen["guidance_interval"] = interval
    return sampling_settings(model.config, **chosen)


def _option(setting: Setting, default: Any, bound: dict[str, str]) -> Any:
    """The widget of an option of a sampler."""
    name = _in_words(setting.name)
    if setting.kind == "choice":
        return st.segmented_control(name, setting.choices, default=default, required=True, format_func=_in_words,
                                    help=setting.help, **bound)  # fmt: skip
    if setting.kind == "switch":
        return st.toggle(name, default, help=setting.help, **bound)
    if setting.kind == "number" and {"ge", "le"} <= setting.limits.keys():
        whole = isinstance(setting.default, int)
        low, high = (setting.limits[key] if whole else float(setting.limits[key]) for key in ("ge", "le"))
        step = max(1, (high - low) // 10) if whole else (high - low) / 10
        return st.slider(name, low, high, default, step, help=setting.help, **bound)
    if setting.kind == "number":
        return st.number_input(name, value=default, help=setting.help, **bound)
    return st.text_input(name, default, help=setting.help, **bound)


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
        settings = self.settings
        words = ["python", "-m", "ddpm", "sample", "grid", "--model", self.reference]
        words += ["--num-samples", str(self.count)]
        if self.rolled:
            words += ["--indices", ",".join(map(str, self.indices))]
        if self.labels is None or len(self.labels) < model.num_classes:  # all in turn is the default
            words += ["--labels", labels_text(model.class_names, self.labels)]
        words += ["--sampler", settings.sampler, "--num-steps", str(settings.num_steps)]
        for option in SAMPLERS[settings.sampler].options:
            words += [f"--{option.replace('_', '-')}", str(getattr(settings, option))]
        words += ["--spacing", settings.spacing, "--guidance-scale", f"{settings.guidance_scale:g}"]
        if settings.guidance_interval:
            words += ["--guidance-interval", *map(str, settings.guidance_interval)]
        words += ["--seed", str(self.seed), "--out", f"{model.config.noun}s.png"]
        return shlex.join(words)

    def python(self, model: Model) -> str:
        changed = self.settings.model_dump()
        arguments = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        labels = "None" if self.labels is None else str(list(self.labels))
        if self.labels and len(self.labels) == model.num_classes:
            labels = "range(model.num_classes)"
        named = f"  # {', '.join(map(model.class_name, self.labels))}" if self.labels and "[" in labels else ""
        return (
            "# from the repository's root\n"
            "import ddpm\n"
            "from ddpm.media.images import enlarge, make_grid, to_uint8\n\n"
            f"model = ddpm.load_model({self.reference!r})\n"
            f"settings = ddpm.SamplingConfig({arguments})\n"
            f"which = {self.indices if self.rolled else f'range({self.count})'}  # of the images that this seed has\n"
            f"labels = {labels}{named}\n"
            f"for step in ddpm.sample(model, labels=labels, settings=settings, seed={self.seed}, indices=which):\n"
            "    print(step.t, end=' ')   # step.x_t is the noisy state, step.x0 the predicted clean image\n"
            f"enlarge(make_grid(to_uint8(step.x0))).save('{model.config.noun}s.png')\n"
        )


def widget_values(request: Request, model: Model) -> dict[str, object]:
    """The values of the Playground's widgets in a URL that asks for ``request``, with nothing left to a default."""
    settings, classes = request.settings, request.labels
    draw = NO_CLASS if classes is None else ALL if len(classes) > 1 else texts(model.class_names)[classes[0]]
    return {
        "play_model": request.reference,
        "play_draw": draw,
        "play_count": request.count,
        "play_seed": request.seed,
        "play_sampler": SAMPLERS[settings.sampler].label,
        "play_steps": settings.num_steps,
        **{
            f"play_{option.name}": _in_words(value) if option.kind == "choice" else value
            for option in sampler_settings()
            for value in [getattr(settings, option.name)]
        },
        "play_spacing": settings.spacing,
        "play_guidance": settings.guidance_scale,
        "play_interval": settings.guidance_interval or (0, model.schedule.num_timesteps - 1),
    }


def _in_words(name: str) -> str:
    return name.replace("_", " ")


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
