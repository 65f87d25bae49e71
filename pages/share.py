"""The Share page: how to make a page that anyone can open; a model on the Hub, or the app with it in a Space."""

import streamlit as st

from ddpm.deploy.space import PLAN
from ddpm.errors import DDPMError
from pages.components.frame import about, page
from pages.components.models import pick_model
from pages.components.public import show_error
from pages.components.share import (
    MODEL,
    SPACE,
    STATIC,
    download_space,
    page_for_anyone,
    push_form,
    show_files,
    simplest,
    tell_outcome,
)

PAGE = {
    "order": 8,
    "group": "Share",
    "icon": ":material/share:",
    "about": "Show a model to a friend as a page that anyone can open, or put it on the Hugging Face Hub.",
    "off_in_public": "Sharing works with your own token, which you should type only on a machine of your own.",
}

page(
    "Share",
    "Show a model to a friend as a page that anyone can open; or put it on the Hugging Face Hub, where anyone can load "
    "it by its name, or into a Space with this app. The model is set in the sidebar.",
)

model = pick_model("share_model", own_first=True)
reference = model.reference
what = st.segmented_control(
    "Share as", [STATIC, MODEL, SPACE], default=STATIC, required=True, key="share_as", bind="query-params"
)

left, right = st.columns([3, 2] if what == STATIC else [2, 3], gap="large")
if what == STATIC:
    with left:
        page_for_anyone(model)
    with right:
        simplest(model)
else:
    with left:
        if what == SPACE:
            st.info(PLAN, icon=":material/payments:")
        repo_id = push_form(what, model)
        tell_outcome(what, reference)
        made = f"space {repo_id} --model {reference} --push" if what == SPACE else f"push --model {reference} {repo_id}"
        with st.expander("The same from the command line", icon=":material/terminal:"):
            st.code(f"python -m ddpm {made}", language="bash", wrap_lines=True)
    with right:
        try:
            show_files(what, reference)
        except DDPMError as error:
            show_error(error)
        else:
            if what == SPACE:
                download_space(reference)

about(
    r"""
A model is its weights $\theta$ and the config that says which network they belong to. Both are plain data:
`safetensors` holds numbers and their names, so that opening it runs nothing. The card beside them says what the model
was trained on, how well it tells noise from image at every $t$, and where its limits are. Loaded again, by
`hf://user/name`, it draws the same images to the bit.

A Space is a repository as well: the app, the model, and a `Dockerfile` that says how a container is built of them. Its
disk is ephemeral: what is trained in a Space is lost when it restarts.
""",
    "Mitchell et al. 2019, Model Cards for Model Reporting",
    "https://arxiv.org/abs/1810.03993",
    ("model-reference", "pipeline", "space"),
)
