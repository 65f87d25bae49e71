"""Recipes on the pages: what downloads carry, and the settings of a file that somebody brings."""

from urllib.parse import parse_qsl, urlencode

import streamlit as st

from ddpm.deploy.public import limits
from ddpm.errors import DataError
from ddpm.escaping import as_code
from ddpm.media.recipe import Recipe, read_recipe
from ddpm.models import Model

from .link import address
from .public import show_error

KINDS = ("png", "gif", "mp4")


def recipe_of(model: Model, page: str) -> str:
    """The recipe of what a page shows with its present link."""
    link = urlencode([(key, value) for key in st.query_params for value in st.query_params.get_all(key)])
    return Recipe(model.reference, model.sha256, page, link).text()


def settings_from_a_file() -> None:
    """Take a picture that was downloaded here, and offer the page that made it, with its settings."""
    with st.expander("Settings from a picture", icon=":material/receipt_long:"):
        file = st.file_uploader(
            "A PNG, GIF or MP4 that was downloaded here", list(KINDS), key="play_recipe",
            max_upload_size=limits().upload_megabytes, help="Such files say what they were made with.",
        )  # fmt: skip
        if file is None:
            return
        try:
            if file.size > limits().upload_megabytes * 2**20:
                raise DataError(f"the file has more than {limits().upload_megabytes} MB")
            recipe = read_recipe(file.getvalue())
        except DataError as error:
            show_error(error)
            return
        st.markdown(f"Made with {as_code(recipe.model)}, weights {as_code(recipe.sha256[:12])}.")
        here = address().rsplit("/", 1)[0]
        link = urlencode(parse_qsl(recipe.link))
        st.link_button("Open its settings", f"{here}/{recipe.page}?{link}", icon=":material/open_in_new:")
