"""The Schedules page: what a noise schedule does to an image."""

import streamlit as st
import torch

from ddpm.config import DataConfig
from ddpm.data import ImageSet, load_dataset
from ddpm.diffusion import q_sample
from ddpm.errors import DataError
from ddpm.media.figures import QUANTITIES, SCHEDULE_COLOURS, format_alpha_bar, schedule_figure
from ddpm.media.images import enlarge, to_pil, to_uint8
from ddpm.randomness import ImageNoise
from ddpm.schedule import SCHEDULES, make_schedule
from pages.components.frame import about, legend, page
from pages.components.pictures import show

page("Schedules", "A noise schedule says how much of the image is left at every timestep. Move t and compare.")

BOUND = {"bind": "query-params"}


@st.cache_resource(show_spinner=False)
def images_on_disk() -> tuple[ImageSet, str]:
    """MNIST's test images where they are on disk, else scikit-learn's digits; and what they are."""
    try:
        return load_dataset(DataConfig(dataset="mnist", image_size=32), "test", download=False), "MNIST"
    except DataError:
        return load_dataset(DataConfig(dataset="digits", image_size=32), "test"), (
            "scikit-learn's digits, 8x8 enlarged. "
            "`python -m ddpm viz dataset --config configs/mnist.yaml --out mnist.png` fetches MNIST"
        )


with st.sidebar:
    st.divider()
    names = st.multiselect("Schedules", list(SCHEDULES), ["linear", "cosine", "sigmoid"], key="sched_names", **BOUND)
    num_timesteps = st.select_slider(
        "T, the number of timesteps", [10, 20, 50, 100, 200, 500, 1000, 2000, 4000], 1000, key="sched_T",
        help="linear, quadratic and scaled_linear keep their range of beta, which was tuned for T = 1000: with fewer "
        "steps much of the image survives. cosine and sigmoid prescribe alpha_bar itself, whatever T is.", **BOUND,
    )  # fmt: skip
    pictures, origin = images_on_disk()
    index = st.number_input("Image", 0, len(pictures) - 1, 0, key="sched_image", **BOUND)
    st.caption(f"From {origin}.")
    seed = st.number_input(
        "Noise seed", 0, 2**31 - 1, 0, key="sched_seed", help="One noise for all schedules.", **BOUND
    )

if not names:
    st.info("Choose at least one schedule in the sidebar.")
    st.stop()
share = st.slider(
    "t, as a share of T", 0.0, 1.0, 0.3, 0.01, key="sched_t",
    help="How far into the forward process: 0 is its first step, 1 its last.", **BOUND,
)  # fmt: skip
t = min(round(share * num_timesteps), num_timesteps - 1)
schedules = {name: make_schedule(name, num_timesteps) for name in names}

x0 = pictures[index : index + 1].scaled()
eps = ImageNoise(seed, [0], tuple(x0.shape[1:]))()


def card(place, image: torch.Tensor, caption: str) -> None:
    """One picture of the row; on a phone the row wraps, two by two."""
    with place.container(width=168):
        show(enlarge(to_pil(to_uint8(image)[0])), caption.split("  ")[0])
        st.markdown(caption)


row = st.container(horizontal=True)
card(row, x0, f"**The image**  \nlabel {int(pictures.labels[index])}")
for name, schedule in schedules.items():
    x_t = q_sample(schedule, x0, torch.tensor([t]), eps)
    numbers = f"$\\bar\\alpha$ = {format_alpha_bar(schedule.alpha_bar(t))}, SNR = {float(schedule.snr[t]):.3g}"
    card(row, x_t, f"**{name}** at t = {t}  \n{numbers}")

legend({name: SCHEDULE_COLOURS[name] for name in names})
for column, (key, quantity) in zip(st.columns(len(QUANTITIES)), QUANTITIES.items(), strict=True):
    with column:
        st.markdown(f"**{quantity.label}**", help=f"${quantity.latex}$  \n{quantity.meaning}")
        st.plotly_chart(schedule_figure(schedules, key, t), key=f"sched_plot_{key}", config={"displayModeBar": False})


def described(name: str) -> str:
    spec = SCHEDULES[name]
    constants = ", ".join(f"{key} = {value:g}" for key, value in spec.defaults.items())
    return f"**{name}**: ${spec.formula}$  \nwith {constants}. {spec.source}"


formulas = "\n\n".join(described(name) for name in names)
about(
    rf"""
$\bar\alpha_t$ is the share of the image's variance that survives until $t$; $1 - \bar\alpha_t$ is the noise's. A
schedule that falls too early wastes its last steps on pure noise; one that falls too late leaves the sampler too much
to do at once. Where a formula says $\propto$, $\bar\alpha$ is scaled to start at 1, and $\beta$ is capped at 0.999.

{formulas}
""",
    "Nichol & Dhariwal 2021, Improved Denoising Diffusion Probabilistic Models",
    "https://arxiv.org/abs/2102.09672",
)
