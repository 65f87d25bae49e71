"""A real image on the Schedules page: which one, and what each schedule's noise makes of it."""

import base64
from html import escape
from pathlib import Path

import streamlit as st
from torch import Tensor

from ddpm.data import to_float
from ddpm.datasets import DATASETS
from ddpm.errors import DataError
from ddpm.media.images import to_pil, to_uint8
from ddpm.media.schedule_figures import Line, Noised, noised
from ddpm.quantities import format_alpha_bar

from .pictures import data_uri, stroke
from .public import foreign
from .source import PHOTOGRAPHS, UPLOAD, chosen, images_of, uploaded

SIZE = 64  # of a photograph or an upload, in pixels
COLUMNS = 9  # of the strip
_follower = st.components.v2.component(
    "ddpm_noised", js=Path(__file__).with_name("static").joinpath("noised.js").read_text(encoding="utf-8")
)


def _first_source() -> str:
    """MNIST if it is on disk, else the photographs: scikit-learn's 8x8 digits, enlarged, look like blobs."""
    try:
        images_of("mnist", 32, 1)
    except DataError:
        return PHOTOGRAPHS
    return "mnist"


def pick_image() -> tuple[Tensor, int] | None:
    """Controls for an image and its noise: x0 (1, C, H, W) in [-1, 1] and the seed; None while there is no image."""
    sources = [*(name for name, dataset in DATASETS.items() if dataset.function), PHOTOGRAPHS, UPLOAD]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.selectbox(
            "Image from", sources, sources.index(_first_source()), key="sched_source", width=180, bind="query-params",
            help="; ".join(f"{name}: {DATASETS[name].about}" for name in sources if name in DATASETS)
            + f"; {PHOTOGRAPHS}: a temple and a flower, inside scikit-learn.",
        )  # fmt: skip
        if source == UPLOAD:
            picture = uploaded("sched", SIZE, 3)
        elif source == PHOTOGRAPHS:
            picture = chosen("sched", source, SIZE, 3)
        else:
            picture = chosen("sched", source, 32, DATASETS[source].channels)
        seed = st.number_input(
            "Noise seed", step=1, key="sched_seed", width=150, bind="query-params",
            help="The same noise for all schedules and all t.",
        )  # fmt: skip
    if isinstance(picture, str):
        st.info(foreign(picture))
        return None
    return to_float(picture), seed


def follow_the_hand(drawn: list[Line], x0: Tensor, eps: Tensor, over: str) -> None:
    """Let the large pictures of ``show_noised``, and the marks on the curves over one of ``AXES``, follow the slider of
    t while it is dragged; and the slider a mark that was dragged."""

    def take() -> None:
        share = st.session_state.sched_follow.get("share")
        if isinstance(share, int | float) and 0 <= share <= 1:  # a browser may send anything
            st.session_state.sched_t = float(share)

    _follower(
        data={
            "over": over,
            "shape": list(x0.shape[1:]),
            "x0": _base64(to_uint8(x0)),
            "eps": _base64(eps),
            "schedules": [_base64(line.schedule.alphas_cumprod.float()) for line in drawn],
        },
        key="sched_follow",
        on_share_change=take,
    )


def _base64(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def show_noised(drawn: list[Line], x0: Tensor, eps: Tensor, share: float) -> None:
    """The image under every schedule: large at ``share`` of T, and small at even shares, including that one."""
    shares = [i / (COLUMNS - 1) for i in range(COLUMNS)]
    at = min(range(COLUMNS), key=lambda i: abs(shares[i] - share))
    shares[at] = share
    rows = [(line, noised(line.schedule, x0, eps, shares)) for line in drawn]
    large = _figure("the image", "The image", to_uint8(x0)[0], "before any noise")
    large += "".join(_large(line, cells[at]) for line, cells in rows)
    same = len({line.schedule.num_timesteps for line in drawn}) == 1
    head = "".join(
        f"<th scope=col{_mark(i == at)}>{f't = {rows[0][1][i].t}' if same else f'{shares[i]:.3g} T'}</th>"
        for i in range(COLUMNS)
    )
    body = "".join(_row(line, cells, at) for line, cells in rows)
    st.html(
        f"<div class=noised><div class=large>{large}</div><div class=scroll>"
        f"<table><thead><tr><th class=name scope=col>schedule</th>{head}</tr></thead><tbody>{body}</tbody></table>"
        "</div></div>"
    )


def _large(line: Line, cell: Noised) -> str:
    facts = (
        f"t = {cell.t} · ᾱ = {format_alpha_bar(line.schedule.alpha_bar(cell.t))}<br>"
        f"SNR = {float(line.schedule.snr[cell.t]):.3g}<br>PSNR = {cell.psnr:.1f} dB"
    )
    return _figure(f"{line.label} at t = {cell.t}", f"{stroke(line.pen)}{escape(line.label)}", cell.image, facts)


def _figure(alt: str, title: str, image: Tensor, facts: str) -> str:
    caption = f"<b>{title}</b><br><span class=quiet>{facts}</span>"
    return f"<figure>{_img(image, alt)}<figcaption>{caption}</figcaption></figure>"


def _row(line: Line, cells: list[Noised], at: int) -> str:
    drawn = "".join(
        f"<td{_mark(i == at)}>{_img(cell.image, f'{line.label} at t = {cell.t}')}{cell.psnr:.1f} dB</td>"
        for i, cell in enumerate(cells)
    )
    return f"<tr><th scope=row>{stroke(line.pen)}<br>{escape(line.label)}</th>{drawn}</tr>"


def _mark(marked: bool) -> str:
    return " class=at" if marked else ""


def _img(image: Tensor, alt: str) -> str:
    return f'<img src="{data_uri(to_pil(image))}" alt="{escape(alt)}">'
