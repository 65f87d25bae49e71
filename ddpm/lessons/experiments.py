"""Experiments of lessons, drawn: the same pictures on the app's page, on the static page and in an answer sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, repeat

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..config import sampling_settings
from ..config.sections import SamplingConfig, ScheduleConfig
from ..data import photographs, to_float
from ..diffusion import q_sample
from ..evaluation.calibration import psnr
from ..evaluation.classifier import DATA as CLASSIFIED
from ..evaluation.classifier import classify
from ..media.chart import PALETTE, Axis, Chart, Panel, Trace
from ..media.images import EPS_RANGE, make_grid, to_uint8
from ..models import Model, load_model
from ..plane import Mixture, law_of, sample_data, sliced_wasserstein, walk
from ..randomness import ImageNoise, NoiseBetween
from ..samplers import SAMPLERS, Step
from ..sampling import evaluations, sample
from ..schedule import NoiseSchedule, make_schedule
from ..spacing import spaced_timesteps
from .charts import charted
from .figures import Figure, Row
from .kinds import Charted, Experiment, Guessed, Images, Noised, Noising, Samples, Shot, Walks

Tell = Callable[[], None]
"""Called between two steps of a computation, which it may interrupt."""
MOMENTS = 5  # of a walk whose guesses are shown
POINTS = 500  # in the plane
REACH = 2.2  # of the plane, to either side
AMPLIFIED = 10  # an error of the noise, which is small
WIDEST = 2  # standard deviations of a noised photograph that its colours show
LEAST_SHOWN = 1e-5  # of what is left of an image's variance


Load = Callable[[str], Model]


def draw(experiment: Experiment, tell: Tell = lambda: None, load: Load = load_model) -> tuple[Row, ...]:
    """The pictures of an experiment.

    Args:
        load: finds a model by its reference.

    Raises:
        DDPMError: a model that it takes is not there, or cannot do what it asks for.
    """
    rows = tuple(DRAWN[type(experiment)](experiment, tell, load))
    if len(rows) > 1 and all(len(row.figures) == 1 for row in rows):  # beside each other they are easier to compare
        return (Row(tuple(_under_its_label(row) for row in rows)),)
    return rows


def _under_its_label(row: Row) -> Figure:
    (figure,) = row.figures
    return replace(figure, label=row.label, facts=", ".join(filter(None, (figure.label, figure.facts))))


def work_of(experiment: Experiment, load: Load = load_model) -> int:
    """Network evaluations that ``draw`` takes, all images together; 1 for an experiment without a network."""
    if isinstance(experiment, Samples):
        return sum(experiment.count * _evaluations(experiment, shot, load) for shot in experiment.shots)
    return 40 if isinstance(experiment, Guessed) else 1


def models_of(experiment: Experiment) -> tuple[str, ...]:
    """The references of all models that ``draw`` takes."""
    parts = (experiment, *getattr(experiment, "shots", ()))
    if isinstance(experiment, Charted):
        parts = [part for each in _charts(experiment) for part in ([each] if each.of == "calibration" else each.scores)]
    return tuple(dict.fromkeys(name for part in parts if (name := getattr(part, "model", None))))


# -- images that a model draws -------------------------------------------------------------------------------------


def _settings(asked: Samples, shot: Shot, model: Model) -> SamplingConfig:
    return sampling_settings(model.config, **asked.settings | shot.settings)


def _labels(asked: Samples, shot: Shot) -> tuple[int, ...] | None:
    return (asked.labels if shot.labels is None else shot.labels) or None


def _evaluations(asked: Samples, shot: Shot, load: Load) -> int:
    model = load(shot.model or asked.model)
    return evaluations(_settings(asked, shot, model), model.schedule, guided=_labels(asked, shot) is not None)


def _samples(asked: Samples, tell: Tell, load: Load) -> Iterator[Row]:
    walks = [_walk(asked, shot, tell, load) for shot in asked.shots]
    if asked.shows == "guesses":
        for shot, steps in zip(asked.shots, walks, strict=True):
            chosen = [steps[round(k * (len(steps) - 1) / (MOMENTS - 1))] for k in range(MOMENTS)]
            yield Row(tuple(_guess(step, asked.columns) for step in chosen), shot.label)
        return
    ends = [to_uint8(steps[-1].x0) for steps in walks]
    yield Row(
        tuple(
            Figure(shot.label, make_grid(end, asked.columns), facts=_facts(asked, shot, end, ends, load))
            for shot, end in zip(asked.shots, ends, strict=True)
        ),
        across=min(asked.columns, asked.count),
    )


def _walk(asked: Samples, shot: Shot, tell: Tell, load: Load) -> list[Step]:
    model = load(shot.model or asked.model)
    noise = None
    if shot.between:
        shares = torch.linspace(0, 1, asked.count).tolist()
        noise = NoiseBetween(*(ImageNoise(seed, [0], model.config.image_shape) for seed in shot.between), shares)
    seed = asked.seed if shot.seed is None else shot.seed
    if shot.fresh is not None:
        noise = _refreshed(
            *(ImageNoise(one, range(asked.count), model.config.image_shape) for one in (seed, shot.fresh))
        )
    steps = []
    for step in sample(
        model, asked.count, labels=_labels(asked, shot), settings=_settings(asked, shot, model), seed=seed, noise=noise
    ):
        steps.append(step)
        tell()
    return steps


def _refreshed(start: ImageNoise, later: ImageNoise) -> Callable[[], Tensor]:
    sources = chain([start], repeat(later))
    return lambda: next(sources)()


def _guess(step: Step, columns: int) -> Figure:
    where = "the result" if step.t < 0 else f"guess at t = {step.t}"
    return Figure(where, make_grid(to_uint8(step.x0), columns))


def _facts(asked: Samples, shot: Shot, images: Tensor, every: list[Tensor], load: Load) -> str:
    """What is measured of a set, in words."""
    labels, found = _labels(asked, shot), []
    for measure in asked.measures:
        if measure == "evaluations":
            count = _evaluations(asked, shot, load)
            found.append(f"the network runs {count} time{'s' * (count > 1)} for each image")
        elif measure == "same":
            same = sum(torch.equal(one, other) for one, other in zip(images, every[0], strict=True))
            found.append("" if images is every[0] else f"{same} of {len(images)} equal the first set’s to the pixel")
        elif measure == "near":
            near = psnr(to_float(images), to_float(every[-1])).mean().item()
            found.append("" if images is every[-1] else f"PSNR to the last set: {near:.1f} dB (higher is nearer)")
        elif measure == "spread":
            found.append(f"spread of a pixel {to_float(images).std(0).mean():.2f}")
        elif labels and load(shot.model or asked.model).config.data.dataset == CLASSIFIED.dataset:
            read = classify(to_float(images)).argmax(1).tolist()
            right = sum(seen == labels[k % len(labels)] for k, seen in enumerate(read))
            found.append(f"a classifier reads {right} of {len(images)} as what was asked")
    return " · ".join(filter(None, found))


# -- a picture under noise -----------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def photograph(name: str, size: int) -> Tensor:
    """(1, 3, size, size) in [-1, 1]."""
    return to_float(photographs(size).images[["temple", "flower"].index(name)][None])


def _noised(asked: Noised, tell: Tell, load: Load) -> Iterator[Row]:
    for row in asked.rows:
        schedule = ScheduleConfig(name=row.schedule, num_timesteps=row.num_timesteps).build()
        x0 = photograph(asked.picture, row.size)
        x0 = (x0 - x0.mean()) / x0.std()
        figures = [_at(row, asked.seed, schedule, x0, t) for t in row.t]
        for share in row.alpha_bar:
            if share == 1:
                figures.append(Figure("without noise", _shown(x0)))
            else:
                at = _at(row, asked.seed, schedule, x0, _nearest(schedule, share))
                figures.append(replace(at, label=at.facts, facts=""))
        yield Row(tuple(figures), row.label)
        tell()


def _shown(pixels: Tensor) -> Image.Image:
    return make_grid(to_uint8(pixels / WIDEST), gap=0)


def _left(alpha_bar: float) -> str:
    """The share that is left, in two digits and without an exponent, and never rounded to all."""
    if alpha_bar < LEAST_SHOWN:
        return f"ᾱ < {LEAST_SHOWN:.5f}"
    return f"ᾱ = {alpha_bar:.5f}" if alpha_bar < 1e-4 else f"ᾱ = {alpha_bar:.{2 if alpha_bar < 0.995 else 4}g}"


def _nearest(schedule: NoiseSchedule, alpha_bar: float) -> int:
    return int((schedule.alphas_cumprod - alpha_bar).abs().argmin())


def _at(row: Noising, seed: int, schedule: NoiseSchedule, x0: Tensor, t: int) -> Figure:
    noise = ImageNoise(seed, [0], tuple(x0.shape[1:]))
    if row.stepwise:
        x_t = x0
        for beta in schedule.betas[: t + 1].tolist():
            x_t = math.sqrt(1 - beta) * x_t + math.sqrt(beta) * noise()
    else:
        x_t = q_sample(schedule, x0, torch.tensor([t]), noise())
    facts = _left(schedule.alpha_bar(t))
    if row.measured:
        facts = f"mean {abs(x_t.mean()):.2f}, spread {x_t.std():.2f}"
    if row.averaged > 1:
        x_t = F.avg_pool2d(x_t, row.averaged) / math.sqrt(schedule.alpha_bar(t))
    return Figure(f"t = {t}", _shown(x_t), facts=facts)


# -- what a network makes of it ------------------------------------------------------------------------------------


def _guessed(asked: Guessed, tell: Tell, load: Load) -> Iterator[Row]:
    model = load(asked.model)
    x0 = _clean(asked, model, tell)
    t = torch.tensor(asked.t)
    eps = ImageNoise(asked.seed, [0], model.config.image_shape)().expand(len(t), -1, -1, -1)
    x_t = q_sample(model.schedule, x0.expand_as(eps), t, eps)
    if "x_t" in asked.shows:
        yield _row("what the network is given", asked.t, x_t)
    for label in asked.asked:
        labels = None if label is None else [label]
        denoise = model.denoiser(model.class_labels(labels, range(len(t))), clip=True)
        with torch.no_grad():
            said = denoise(x_t, t)
        tell()
        told = "" if label is None else f", told that it is a {model.class_name(label)}"
        if "eps" in asked.shows:
            yield _row(f"its guess of the noise{told}", asked.t, said.eps / EPS_RANGE)
        if "error" in asked.shows:
            errors = AMPLIFIED * (said.eps - eps) / EPS_RANGE
            yield _row(f"the error of this guess, {AMPLIFIED} times as strong", asked.t, errors)
        if "x0" in asked.shows:
            yield _row(f"its guess of the image{told}", asked.t, said.x0)


def _clean(asked: Guessed, model: Model, tell: Tell) -> Tensor:
    """The picture that is noised: one that the model has drawn, or the photograph in grey."""
    if asked.picture == "flower":
        return photograph("flower", model.config.image_shape[-1]).mean(1, keepdim=True)
    return _end(sample(model, 1, labels=[asked.digit], seed=asked.seed), tell).clamp(-1, 1)


def _end(steps: Iterable[Step], tell: Tell) -> Tensor:
    """The images, or points, at the end of a walk."""
    for step in steps:
        end = step.x0
        tell()
    return end


def _row(label: str, timesteps: Sequence[int], images: Tensor) -> Row:
    pairs = zip(timesteps, images, strict=True)
    return Row(tuple(Figure(f"t = {t}", make_grid(to_uint8(image[None]), gap=0)) for t, image in pairs), label)


# -- the plane -----------------------------------------------------------------------------------------------------


def _walks(asked: Walks, tell: Tell, load: Load) -> Iterator[Row]:
    law, schedule = law_of(asked.data), make_schedule("linear", 1000)
    truth, others = (law.sample(POINTS, seed, asked.of_class).x for seed in (1, 2))
    real = f"{sliced_wasserstein(others, truth):.2f}"
    figures = []
    for shot in asked.shots:
        known = Mixture.of_points(sample_data(asked.data, shot.points)) if shot.points else law
        denoise = known.denoiser(schedule, asked.of_class, shot.guidance)
        timesteps = spaced_timesteps(schedule.num_timesteps, shot.steps, shot.spacing)
        ends = _end(walk(SAMPLERS[shot.sampler].function, denoise, schedule, timesteps, POINTS), tell).flatten(1)
        far = f"distance to the data: {sliced_wasserstein(ends, truth):.2f} (of other real points: {real})"
        figures.append(Figure(shot.label, chart=_scattered(truth, ends), facts=far))
    yield Row(tuple(figures))


def _scattered(truth: Tensor, ends: Tensor) -> Chart:
    data = Trace(*truth.T.tolist(), "data", "#9aa3ad", "", mark="circle", size=5, opacity=0.5, hover="")
    drawn = Trace(*ends.T.tolist(), "drawn", PALETTE[1], "", mark="circle", size=4, opacity=0.7, hover="")
    span = (-REACH, REACH)
    return Chart([Panel([data, drawn], Axis(range=span))], Axis(range=span), legend="above", height=340)


# -- real images ---------------------------------------------------------------------------------------------------


def _images(asked: Images, tell: Tell, load: Load) -> Iterator[Row]:
    from ..config import DataConfig
    from ..data import class_by_class, load_dataset

    config = DataConfig(dataset=asked.dataset, image_size=8, channels=1)
    images = class_by_class(load_dataset(config, "test", download=False), asked.count).images
    yield Row((Figure("as they are", make_grid(images, 5)), Figure("mirrored", make_grid(images.flip(3), 5))))


def _charted(asked: Charted, tell: Tell, load: Load) -> Iterator[Row]:
    yield Row(tuple(Figure(*charted(each, load)) for each in _charts(asked)))


def _charts(asked: Charted) -> tuple[Charted, ...]:
    return (asked, *(_charts(asked.beside) if asked.beside else ()))


DRAWN = {
    Samples: _samples,
    Noised: _noised,
    Guessed: _guessed,
    Walks: _walks,
    Images: _images,
    Charted: _charted,
}
