"""Whether a picture is new: its images above the training images that come nearest, for models of one's own images."""

import streamlit as st
import torch
from torch import Tensor

from ddpm.config import DataConfig
from ddpm.data import to_float
from ddpm.deploy.public import is_public
from ddpm.errors import DDPMError, MetricError
from ddpm.evaluation.memorised import closeness
from ddpm.evaluation.real_images import RealImages
from ddpm.evaluation.results import absences, unavailable
from ddpm.media.images import enlarge, make_grid
from ddpm.models import Model, repeat_labels

from .evaluation import missing
from .models import computing
from .pictures import show
from .public import foreign

TITLE = "Nearest training images"
SHOWN = 10  # pairs, those that come nearest


@st.cache_resource(show_spinner="Reading the training images", max_entries=2, ttl=600,
                   hash_funcs={DataConfig: DataConfig.model_dump_json})  # fmt: skip
def _real(config: DataConfig, conditional: bool) -> RealImages:
    return RealImages.load(config, 0, conditional)


def nearest_section(model: Model, images: Tensor, labels: tuple[int, ...] | None, indices: tuple[int, ...]) -> None:
    """Under a picture, uint8 (N, C, H, W): which training images come nearest, and whether they are only remembered."""
    data = model.config.data
    if data.dataset != "folder" or is_public():
        return
    st.header(TITLE, anchor=False)
    try:
        real = _real(data, bool(labels))
        if not real.missing and real.digest != data.digest:
            raise MetricError("the folder's images are not those that the model learned from")
        with computing("nearest", len(images)):
            asked = torch.tensor(repeat_labels(labels, indices)) if labels else None
            close = closeness(to_float(images), asked, real)
    except DDPMError as error:
        missing(absences({TITLE: unavailable(error)}))
        return
    shown = close.ratio.argsort()[:SHOWN]
    pairs = torch.cat([images[shown], real.train.images[close.nearest.index[shown]]])
    show(enlarge(make_grid(pairs, columns=len(shown))), "Generated images, and training images", width=80 * len(shown))
    st.markdown(f"{foreign(close.verdict)}.")
    ratios = ", ".join(f"{ratio:.2f}" for ratio in close.ratio[shown])
    st.caption(
        f"Above: the generated images that come nearest to one of the {len(real.train):,} training images, in pixels. "
        f"Below: that one. Their distances, where 1 is that of a typical unseen image: {foreign(ratios)}."
    )
