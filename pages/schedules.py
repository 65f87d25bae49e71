"""The Schedules page: what a noise schedule does to an image, and what a sampler makes of it."""

import streamlit as st

from ddpm.media.drawers import to_plotly
from ddpm.media.schedule_figures import lines, noise_like, schedules_chart
from pages.components.frame import about, page
from pages.components.noised import follow_the_hand, pick_image, show_noised
from pages.components.pictures import stroke_legend
from pages.components.schedules import PLOT, details, pick_axis, pick_variants, steps_landing, tell_link_faults

PAGE = {
    "order": 4,
    "group": "Learn",
    "icon": ":material/show_chart:",
    "about": "See how fast each noise schedule destroys an image, and compare them on a real one.",
}

page(
    "Schedules",
    "A noise schedule says how much of the image is left at every timestep. Change the schedules in the sidebar, "
    "move t, and compare.",
)

with st.sidebar:
    st.divider()
    chosen = pick_variants()
tell_link_faults()
if not chosen:
    st.info("No card in the sidebar makes a valid schedule yet: each says what is wrong.")
    st.stop()
drawn = lines(chosen)

share = st.slider(
    "t, as a share of T", 0.0, 1.0, 0.3, 0.01, key="sched_t", bind="query-params",
    help="How far into the forward process: 0 is its first step, 1 its last.",
)  # fmt: skip
pictures = st.container()
picked = pick_image()
if picked:
    x0, seed = picked
    eps = noise_like(x0, seed)
    with pictures:
        show_noised(drawn, x0, eps, share)

st.header("The curves", anchor=False)
over = pick_axis(
    "sched_over",
    "t / T compares schedules of different T. Over log SNR, ᾱ is the same curve for all of them: they differ only in "
    "how many timesteps they spend where.",
)
stroke_legend(drawn)
st.caption("The marks are at the t of the pictures: drag one.")
st.plotly_chart(to_plotly(schedules_chart(drawn, over, share)), key="sched_plot", **PLOT)

st.header("Where the steps land", anchor=False)
steps_landing(drawn, over, x0.numel() if picked else 32 * 32)

st.header("Formulas, and on to training", anchor=False)
details(chosen)
if picked:
    follow_the_hand(drawn, x0, eps, over)

about(
    r"""
$\bar\alpha_t$ is the share of the image's variance that survives until $t$, $1 - \bar\alpha_t$ that of the noise:

$$
x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\varepsilon, \qquad
\mathrm{SNR}_t = \frac{\bar\alpha_t}{1 - \bar\alpha_t}.
$$

All pictures above hold the same noise $\varepsilon$: what differs between two rows is the schedule alone. One that
falls too early spends its last steps on what is noise already; one that falls too late asks the sampler for too much
at once. Training draws $t$ evenly, so the schedule decides which noise levels the network practises: over *log SNR*,
see how many timesteps each level gets. Large images need more noise than small ones, since neighbouring pixels agree
and show through together.

A sampler starts from pure noise. How well a model could tell that from the last $x_t$ of its training is measured in
standard errors: how far the rest of a white image shifts the mean over all pixels, relative to what noise does to it.

Where a formula says $\propto$, $\bar\alpha$ is scaled to start at 1, and no $\beta$ exceeds 0.999. A dashed line is
another variant of the schedule of its colour.
""",
    "Nichol & Dhariwal 2021, Improved Denoising Diffusion Probabilistic Models",
    "https://arxiv.org/abs/2102.09672",
    ("x0", "x_t", "alpha_bar", "beta", "snr", "log-snr", "zero-terminal-snr", "spacing"),
)
