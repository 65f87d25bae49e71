"""The widgets that say how a model is sampled, and what they say for a request."""

from typing import Any

import streamlit as st

from ddpm.config import SamplingConfig, sampling_settings
from ddpm.config.settings import Setting, sampler_settings
from ddpm.models import NO_CLASS, Model
from ddpm.names import either
from ddpm.samplers import SAMPLERS
from ddpm.spacing import SPACINGS

from .classes import ALL, texts
from .sampling import Request

STEPS = (1, 2, 3, 5, 8, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 500, 1000)


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
            0.1,
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
