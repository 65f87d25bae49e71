"""Folders for hosts other than a Docker Space: Streamlit Community Cloud, GitHub Pages, Gradio Spaces on ZeroGPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..config.yaml_text import dump_yaml
from ..media.document import render
from .readme import front_matter
from .space import shown_model, space_files

OWN = Path(__file__).parent / "host_files"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHON = "3.11"  # that these folders are tried with
GRADIO = "6.31.0"
GRADIO_NEEDS = ("torch", "numpy", "pydantic", "pyyaml", "safetensors")  # of what the app needs: to draw and no more
ENTRY = "streamlit_app.py"
SETTINGS = """\
import os

# By which this host is known: it sets no variable of its own, as a Space does with SPACE_ID.
os.environ.setdefault("DDPM_PUBLIC", "1")
os.environ.setdefault("DDPM_HOSTS", "*.streamlit.app")

"""


def streamlit_files(reference: str) -> dict[str, bytes]:
    """The files of a repository that Streamlit Community Cloud serves as it is, with one model, in public mode.

    Raises:
        ModelError: no such model, or it cannot be exported.
        HubError: the app's files are not beside this library.
    """
    files = space_files(reference)
    name = shown_model(files)
    for left_out in ("Dockerfile", "requirements.lock"):
        del files[left_out]
    document, _, code = files[ENTRY].decode().partition('"""\n\n')
    files[ENTRY] = f'{document}"""\n\n{SETTINGS}{code}'.encode()
    config = ".streamlit/config.toml"
    # Only a server that listens beyond its own machine can be reached through the host's proxy.
    files[config] = files[config].replace(b'address = "127.0.0.1"\n', b"")
    files["requirements.txt"] = cpu_requirements(files["requirements.txt"].decode()).encode()
    front = front_matter([reference], "streamlit", "Watch a diffusion model turn noise into images")
    return _with_readme(files, front, host="streamlit", name=name, python=PYTHON)


def cpu_requirements(text: str) -> str:
    """Requirements with torch's CPU build, which PyTorch's own index has: CUDA's takes gigabytes."""
    pins = [line for line in text.splitlines() if not line.startswith("#")]
    of_torch = [f"{pin}+cpu" if re.match(r"torch(vision)?==", pin) else pin for pin in pins]
    return "\n".join([f"--extra-index-url {CPU_INDEX}", *of_torch, ""])


def gradio_files(reference: str) -> dict[str, bytes]:
    """The files of a Gradio Space, which free accounts may run on ZeroGPU: the library, one model and ``app.py``.

    Raises:
        ModelError, HubError: see ``streamlit_files``.
    """
    app = space_files(reference)
    kept = re.compile(r"ddpm/.*\.(py|safetensors|yaml)|ddpm/pretrained/.*")
    files = {name: content for name, content in app.items() if kept.fullmatch(name)}
    files["app.py"] = (OWN / "app.py").read_bytes()
    lines = app["requirements.txt"].decode().splitlines()
    pins = [line for line in lines if line.partition("==")[0] in GRADIO_NEEDS]
    files["requirements.txt"] = "\n".join(
        ["# Without pillow: Gradio brings one, older than the app's.", *pins, ""]
    ).encode()
    front = front_matter([reference], "gradio", "Watch a diffusion model turn noise into images")
    front |= {"sdk_version": GRADIO, "python_version": PYTHON, "app_file": "app.py", "suggested_hardware": "zero-a10g"}
    return _with_readme(files, front, host="gradio", name=shown_model(app))


def pages_files(page: dict[str, bytes], names: Sequence[str], references: Sequence[str]) -> dict[str, bytes]:
    """The files of a repository that GitHub publishes: the static ``page`` of the models so called, and a workflow."""
    files = {f"page/{name}": content for name, content in page.items() if name != "README.md"}
    files[".github/workflows/pages.yml"] = (OWN / "pages.yml").read_bytes()
    front = front_matter(references, "pages", "A diffusion model that runs in your own browser")
    return _with_readme(files, front, host="pages", name=", ".join(names))


def _with_readme(files: dict[str, bytes], front: dict, **about: str) -> dict[str, bytes]:
    files["README.md"] = render("host.md.j2", {"front": dump_yaml(front), **about}).encode()
    return dict(sorted(files.items()))
