"""The Draw page: put something of your own in, and see what the model makes of it."""

import streamlit as st

from ddpm.errors import DDPMError
from pages.components.editing import TOOLS
from pages.components.frame import about, page
from pages.components.models import pick_model
from pages.components.public import show_error

PAGE = {
    "order": 2,
    "group": "Explore",
    "icon": ":material/gesture:",
    "about": "Sketch an image and let the model finish it, or paint over a part and have it repaired.",
}

page(
    "Draw",
    "Put something of your own in. The model is asked at a noise level that you choose, and shows what it knows.",
)

model = pick_model("draw_model")
tool = st.segmented_control(
    "Tool", list(TOOLS), default=next(iter(TOOLS)), required=True, key="draw_tool", bind="query-params",
    label_visibility="collapsed",
)  # fmt: skip
try:
    TOOLS[tool](model)
except DDPMError as error:
    show_error(error)

about(
    r"""
Noise hides an image little by little: first its edges, then its strokes, at last its shape. A sketch that is noised to
timestep $t_0$ has lost what is finer than the noise there, and keeps the rest; taking the noise away again puts what
the model knows in the place of what was lost (SDEdit). The further back, the more of your sketch is forgotten.

To repair an image, the model draws all of it, but at every step the known pixels are put back with as much noise as
belongs there. Repeating each step, with the noise put back in between, lets the new part agree with the old (RePaint,
Lugmayr et al. 2022, [arXiv:2201.09865](https://arxiv.org/abs/2201.09865)).
""",
    "Meng et al. 2022, SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations",
    "https://arxiv.org/abs/2108.01073",
    ("x0", "x_t", "timestep", "steps", "seed", "sdedit", "inpainting", "inversion", "eta"),
)
