"""The README of a Space: front matter as the Hub's configuration reference has it, and what the Space is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config.yaml_text import dump_yaml, parse_yaml
from ..media.document import render
from ..storage.hub import HubReference, is_on_hub

if TYPE_CHECKING:
    from ..config.schema import Config
    from ..models import Model

TAG = "ddpm-lab"  # in the front matter, which identifies a folder as built by this app
STATIC = "static"  # the Hub's name for a Space without a server


def app_readme(reference: str, config: Config) -> str:
    """The README of the app with a model, see ``space``."""
    front = front_matter([reference], "docker", "Watch a diffusion model turn noise into images") | {"app_port": 8501}
    return render("space.md.j2", {"front": dump_yaml(front), "config": config})


def static_readme(models: Sequence[Model], runtime: str) -> str:
    """The README of a static page, see ``static_page``. The headers let its WebAssembly use several threads."""
    headers = {
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "cross-origin",
    }
    references = [model.reference for model in models]
    front = front_matter(references, STATIC, "A diffusion model that runs in your own browser")
    values = {"front": dump_yaml(front | {"custom_headers": headers}), "models": models, "runtime": runtime}
    return render("static.md.j2", values)


def front_matter(references: Sequence[str], sdk: str, about: str) -> dict[str, Any]:
    """What stands at the head of a folder's README; ``sdk`` is the kind of Space, or the host."""
    front = {
        "title": "DDPM Lab",
        "emoji": "🎲",
        "colorFrom": "green",
        "colorTo": "blue",
        "sdk": sdk,
        "pinned": False,
        "short_description": about,  # at most 60 characters
        "tags": [TAG, "diffusion"],
    }
    on_hub = [HubReference.parse(reference).repo_id for reference in references if is_on_hub(reference)]
    return front | ({"models": on_hub} if on_hub else {})


def sdk_in(readme: str) -> str | None:
    """The kind of Space, docker or static, whose README this is; None for another's than this app's."""
    try:
        front = parse_yaml(readme.split("---\n", 2)[1])
        return front["sdk"] if TAG in front["tags"] else None
    except (ValueError, LookupError, TypeError):  # also not YAML
        return None
