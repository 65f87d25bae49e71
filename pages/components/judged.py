"""The samples behind an evaluation, on a page: what the classifier takes them for, and what they are close to."""

from functools import partial

import streamlit as st
import torch

from ddpm.config import DataConfig, SamplingConfig
from ddpm.data import ImageSet, load_dataset
from ddpm.errors import DataError, DDPMError
from ddpm.escaping import as_markdown
from ddpm.evaluation.memorised import verdict
from ddpm.evaluation.real_images import TEST_NEIGHBOURS, splits
from ddpm.evaluation.results import Stage, absences, unavailable
from ddpm.media.figures import class_figure, confusion_figure
from ddpm.media.images import enlarge, make_grid
from ddpm.models import NO_CLASS, Model
from ddpm.sampling import evaluations, sample

from .drawn import drawn_once
from .evaluation import PLOT, missing
from .pictures import show
from .public import foreign


def _drawn(model: Model, sha256: str, settings: SamplingConfig, seed: int, indices: tuple[int, ...]) -> torch.Tensor:
    """Samples of an evaluation, drawn again from their seed: uint8 (N, C, H, W).

    Raises:
        ConfigError: drawing them takes more network evaluations than one request may have here.
    """
    labels = list(range(model.num_classes)) or None
    key = "judged", model.reference, sha256, settings.model_dump_json(), seed, indices
    walk = partial(sample, model, labels=labels, settings=settings, seed=seed, indices=indices)
    work = len(indices) * evaluations(settings, model.schedule, guided=labels is not None)
    what = f"drawing these {len(indices)} samples again"
    (images,) = drawn_once(key, model, work, [walk], "Drawing the samples again", what, "choose fewer steps")
    return images


@st.cache_resource(show_spinner=False, max_entries=1, hash_funcs={DataConfig: DataConfig.model_dump_json})
def _train_images(config: DataConfig, digest: str | None) -> ImageSet:
    """The images among which an evaluation searched for the nearest; ``digest`` is that of its folder.

    Raises:
        DataError: they are no longer here.
    """
    if config.dataset != "folder":
        return load_dataset(config, "train", download=False)
    train, _, now = splits(config)
    if now != digest:
        raise DataError("the folder's images have changed since this was measured: evaluate again")
    return train


def _samples(model: Model, stage: Stage, indices: list[int]) -> torch.Tensor:
    """Some of the samples that a stage names; all of these are drawn at once, which takes less time than one by one."""
    lists = (stage["surest"], stage["least_sure"], [pair["sample"] for pair in _closest_pairs(stage)])
    named = sorted({index for some in lists if isinstance(some, list) for index in some})
    by = stage["made_by"]
    drawn = _drawn(model, by["sha256"], SamplingConfig(**by["settings"]), by["seed"], tuple(named))
    return drawn[[named.index(index) for index in indices]]


def _closest_pairs(stage: Stage) -> list[dict[str, float]]:
    return stage["nearest_training_image"].get("closest", [])


def seen_as(model: Model, stage: Stage) -> None:
    """What the classifier takes the samples for, and those that it is surest and least sure of."""
    matrix, counts = stage["confusion_matrix"], stage["class_histogram"]
    missing(absences({"Confusion matrix": matrix, "best and worst samples": stage["surest"]}))
    left, right = st.columns(2, gap="large")
    if isinstance(matrix, list):
        left.markdown("**Requested digit and what the classifier saw**",
                      help="Rows: the digit asked for. Columns: what the classifier saw.")  # fmt: skip
        left.plotly_chart(confusion_figure(matrix), key="eval_confusion", **PLOT)
    elif isinstance(counts, list):
        left.markdown("**What the classifier saw**", help="The samples were asked for no class.")
        left.plotly_chart(class_figure(counts, stage["reference"].get("class_histogram")), key="eval_classes", **PLOT)
    if isinstance(stage["surest"], list):
        with right:
            try:
                _extremes(model, stage)
            except DDPMError as error:
                missing(absences({"Pictures": unavailable(error)}))


def _extremes(model: Model, stage: Stage) -> None:
    for title, key, meaning in (
        ("Best", "surest", "Those that the classifier is surest are what was asked for."),
        ("Worst", "least_sure", "Least like what was asked for: look here for what the model gets wrong."),
    ):
        st.markdown(f"**{title}**", help=meaning)
        images = _samples(model, stage, stage[key])
        asked = [model.class_name(index % model.num_classes) for index in stage[key]] if model.num_classes else []
        show(enlarge(make_grid(images, columns=4)), f"{title} samples. Asked for: {', '.join(asked) or NO_CLASS}")
        st.caption(f"Asked for: {', '.join(map(as_markdown, asked))}" if asked else f"Asked for {NO_CLASS}")


def closest(model: Model, stage: Stage) -> None:
    """The samples nearest to a training image, above that image: has the model memorised?"""
    found, title = stage["nearest_training_image"], "Nearest training images"
    if "unavailable" in found:
        missing(absences({title: found}))
        return
    st.markdown(
        f"**{title}**",
        help="Above: the samples that come nearest to a training image, in pixels. Below: that image. A copy would "
        "look the same; a ratio of 1 is as near as test images of its class come.",
    )
    try:
        train = _train_images(model.config.data, stage["made_by"].get("digest"))
        pairs = _closest_pairs(stage)
        if any(pair["training_image"] >= len(train.images) for pair in pairs):
            raise DataError("the evaluation names training images that are not there: evaluate again")
        samples = _samples(model, stage, [pair["sample"] for pair in pairs])
    except DDPMError as error:
        missing(absences({"Pictures": unavailable(error)}))
        return
    originals = train.images[[pair["training_image"] for pair in pairs]]
    show(enlarge(make_grid(torch.cat([samples, originals]), columns=len(pairs))), "Samples, and training images",
         width=640)  # fmt: skip
    samples, tests = stage["num_samples"], found.get("num_test_images", TEST_NEIGHBOURS)
    meaning = verdict(round(found["share_below_test_quantile"] * samples), samples, tests, found["ratio"])
    st.markdown(f"{foreign(meaning)}.")
    st.caption(
        f"Ratios: {', '.join(format(pair['ratio'], '.2f') for pair in pairs)}. Median over all samples: "
        f"{found['ratio']:.2f}."
    )
