"""The step ladder on a page: a table of pictures that fills as they are made."""

import html
import math
import shlex
from dataclasses import dataclass, field

import streamlit as st
from PIL import Image, ImageDraw

from ddpm.deploy.public import check_evaluations, limits
from ddpm.evaluation.ladder import (
    ENDS_ELSEWHERE,
    STEPS,
    Climbed,
    Climbing,
    Rung,
    climb,
    closeness,
    plan_evaluations,
    rungs,
)
from ddpm.media.images import make_grid, png_bytes, to_uint8
from ddpm.models import Model
from ddpm.names import labels_text
from ddpm.samplers import SAMPLERS

from .models import computing
from .pictures import data_uri

WIDEST = 100  # steps of the widest column, unless another is chosen
FINER = 5  # times as many steps as the widest column has the ground truth, at least
SIDE, LINE = 96, 20  # pixels of an image and of a line of text in the PNG


@dataclass
class Ladder:
    """What was asked for, and the rungs that have been climbed."""

    reference: str
    label: int | None
    seed: int
    plan: list[Rung]
    climbed: dict[Rung, Climbed] = field(default_factory=dict)

    @property
    def labels(self) -> list[int] | None:
        return None if self.label is None else [self.label]

    @property
    def key(self) -> tuple:
        return self.reference, self.label, self.seed, tuple(self.plan)

    @property
    def complete(self) -> bool:
        return len(self.climbed) == len(self.plan)

    @property
    def columns(self) -> list[int]:
        return sorted({rung.num_steps for rung in self.plan})

    def command_line(self, model: Model) -> str:
        words = ["python", "-m", "ddpm", "sample", "ladder", "--model", self.reference, "--num-samples", "1"]
        words += ["--labels", labels_text(model.class_names, self.labels), "--seed", str(self.seed)]
        return shlex.join([*words, "--steps", ",".join(map(str, self.columns)), "--out", "ladder.png"])


def plans(model: Model, labels: list[int] | None) -> dict[int, list[Rung]]:
    """The ladders that one request may climb here, by their widest column: the ground truth is DDIM in all timesteps,
    or, if those are too many for a public page, in as many as it allows beside all these rungs."""
    last, most, found = model.schedule.num_timesteps, limits().evaluations, {}
    columns = [n for n in STEPS if n <= last] or [last]
    for widest in columns:
        steps = [n for n in columns if n <= widest]
        for reference in (last, *(n for n in reversed(columns) if FINER * widest <= n < last)):
            plan = rungs(last, steps=steps, reference=reference)
            if math.isinf(most) or plan_evaluations(model, plan, labels=labels) <= most:
                found[widest] = plan
                break
    return found


def first_of(possible: dict[int, list[Rung]]) -> int | None:
    """Which of ``plans`` a page opens with: the one of ``WIDEST``, or the widest below."""
    return max(0, sum(widest <= WIDEST for widest in possible) - 1) if possible else None


def climb_with_preview(ladder: Ladder, model: Model, place, progress) -> None:
    """Climb, drawing every rung as it is done; rungs that are done stay when a visitor stops it.

    Raises:
        ConfigError: it is more than one request may ask for here.
    """
    work = plan_evaluations(model, ladder.plan, labels=ladder.labels)
    check_evaluations(work, "this ladder", "fewer columns")
    st.session_state.ladder = ladder
    draw(ladder, place)
    with progress.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, "Starting from noise")
        st.button("Stop", icon=":material/stop_circle:", key="ladder_stop", help="Keeps what is there.")
    total = sum(rung.num_steps for rung in ladder.plan)
    shown = 0.0
    with computing(ladder.reference, work, on_wait=lambda text: bar.progress(shown, text)) as turn:
        for event in climb(model, ladder.plan, 1, labels=ladder.labels, seed=ladder.seed):
            if isinstance(event, Climbed):
                ladder.climbed[event.rung] = event
                draw(ladder, place)
                continue
            share = (sum(rung.num_steps for rung in ladder.climbed) + event.share * event.rung.num_steps) / total
            if share - shown >= 0.01:
                shown = share
                bar.progress(share, _doing(event))
            turn.give_way()
    progress.empty()


def draw(ladder: Ladder, place, differences: bool = False) -> None:
    """The ladder as a table: a row for each sampler, a column for each number of steps; images, or how they differ from
    the ground truth."""
    columns = ladder.columns
    head = "".join(f'<th scope="col">{_steps(n)}</th>' for n in columns)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(sampler.label)}</th>'
        + "".join(_cell(ladder, Rung(name, n), sampler.label, differences) for n in columns)
        + "</tr>"
        for name, sampler in SAMPLERS.items()
    )
    place.html(
        '<div class="ladder" tabindex="0" role="region" aria-label="Ladder">'
        f'<table><tr><th scope="col">sampler</th>{head}</tr>{rows}</table></div>'
    )


def _cell(ladder: Ladder, rung: Rung, label: str, differences: bool) -> str:
    if rung not in ladder.plan:
        return "<td></td>"
    if rung not in ladder.climbed:
        return '<td><div class="empty"></div></td>'
    climbed, last, near = ladder.climbed[rung], ladder.plan[-1], _near(ladder, rung)
    images, compared = climbed.images, rung != last and rung.sampler not in ENDS_ELSEWHERE and last in ladder.climbed
    if differences and compared:
        images = (images - ladder.climbed[last].images).abs() - 1  # black where they are the same
    source = data_uri(make_grid(to_uint8(images), gap=0))
    text = f"{label}, {_steps(rung.num_steps)}: {near}"
    seconds = "" if math.isnan(climbed.seconds) else f"<small>{climbed.seconds:.2f} s</small>"  # it came with the app
    return (
        f'<td class="{"reference" if rung == last else ""}"><img alt="{html.escape(text)}" '
        f'src="{source}"><small><b>{near}</b></small>'
        f"<small>{climbed.evaluations:,} eval.</small>{seconds}</td>"
    )


def _near(ladder: Ladder, rung: Rung) -> str:
    """How close a rung came to the ground truth, in words."""
    last = ladder.plan[-1]
    if rung == last:
        return "ground truth"
    if rung.sampler in ENDS_ELSEWHERE:
        return "another image"
    if last not in ladder.climbed:
        return "…"
    decibels = closeness(ladder.climbed[rung], ladder.climbed[last]).psnr
    return "the same" if math.isinf(decibels) else f"{decibels:.1f} dB"


def picture(ladder: Ladder, recipe: str = "") -> bytes:
    """The ladder as PNG, with its ``recipe``."""
    columns, names = ladder.columns, [name for name in SAMPLERS if any(rung.sampler == name for rung in ladder.plan)]
    image = Image.new("RGB", (SIDE * (len(columns) + 1), (SIDE + LINE) * len(names) + LINE), "white")
    pen = ImageDraw.Draw(image)
    for x, steps in enumerate(columns, 1):
        pen.text((x * SIDE, 0), _steps(steps), "black")
    for y, name in enumerate(names):
        top = LINE + y * (SIDE + LINE)
        pen.text((4, top + SIDE // 2), SAMPLERS[name].label, "black")
        for x, steps in enumerate(columns, 1):
            if climbed := ladder.climbed.get(Rung(name, steps)):
                drawn = make_grid(to_uint8(climbed.images), gap=0).convert("RGB")
                image.paste(drawn.resize((SIDE - 4, SIDE - 4), Image.Resampling.NEAREST), (x * SIDE, top))
                pen.text((x * SIDE, top + SIDE - 4), _near(ladder, climbed.rung), "black")
    return png_bytes(image, recipe)


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


def _doing(event: Climbing) -> str:
    return f"{SAMPLERS[event.rung.sampler].label}, {_steps(event.rung.num_steps)}"
