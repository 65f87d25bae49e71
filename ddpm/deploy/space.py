"""A Hugging Face Space of the app with one model: its files, which ``hub`` publishes.

They come from the folder of the running code, without git: a container of the app can build a Space as well.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError, HubError
from ..files import write_bytes
from ..media.subject import write_model_files
from ..quantities import size_text
from ..storage.publish import publish
from .readme import app_readme, sdk_in

ROOT = Path(__file__).resolve().parents[2]
APP = (  # all that the app needs, and nothing else: secrets and stray files stay behind
    "Dockerfile",
    "requirements.txt",
    "requirements.lock",
    ".streamlit/config.toml",
    "streamlit_app.py",
    "pages/**/*.py",
    "pages/opening/*",
    "pages/museum/exhibits.yaml",
    "pages/museum/measured.json",
    "pages/museum/pictures/*.png",
    "pages/components/static/*",
    "ddpm/**/*.py",
    "ddpm/deploy/static/*",
    "ddpm/deploy/host_files/*",
    "ddpm/lessons/*.yaml",
    "ddpm/media/templates/*",
    "ddpm/evaluation/mnist_classifier.safetensors",  # with which the Playground names what it sees
    "configs/*.yaml",
    "docs/glossary.md",  # which the pages show
)
PLAN = (
    "Hugging Face asks for a paid plan (PRO, Team or Enterprise) to create a Docker Space, which this app needs. "
    "Models are free, and so are static Spaces: python -m ddpm static makes one."
)
# Measured: an environment with requirements.txt and torch's CPU build, byte-code included. Published: python:3.11-slim,
# unpacked. Neither depends on the model.
PACKAGES_BYTES, BASE_BYTES = 2_060_000_000, 150_000_000


def space_files(reference: str) -> dict[str, bytes]:
    """The files of a Space that shows a model, by their names: the same bytes for the same model and app.

    The model is the only one in it, and so the app's first.

    Raises:
        ModelError: no such model, or it cannot be exported.
        HubError: the app's files are not beside this library.
    """
    files = {}
    for pattern in APP:
        paths = [path.relative_to(ROOT) for path in ROOT.glob(pattern)]
        found = {path.as_posix(): ROOT / path for path in paths if not any(p[0] == "." for p in path.parts[1:])}
        if not found:
            raise HubError(f"{ROOT / pattern} is not there: a Space is built from a checkout or a container of the app")
        files |= {name: path.read_bytes() for name, path in found.items()}
    with tempfile.TemporaryDirectory() as folder:
        config = write_model_files(reference, Path(folder)).model.config
        files |= {f"ddpm/pretrained/{config.name}/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}
    files["README.md"] = app_readme(reference, config).encode()
    return dict(sorted(files.items()))


def shown_model(files: Mapping[str, bytes]) -> str:
    """The name of the one model in a Space's files."""
    return next(name.split("/")[2] for name in files if name.startswith("ddpm/pretrained/"))


def image_bytes(files: Mapping[str, bytes]) -> int:
    """The approximate size of the container's image: the base image, the packages, and the files."""
    return BASE_BYTES + PACKAGES_BYTES + total_bytes(files)


def total_bytes(files: Mapping[str, bytes]) -> int:
    return sum(map(len, files.values()))


def summary(files: Mapping[str, bytes]) -> str:
    """The sizes of the upload and of the container's image, in words."""
    return (
        f"{len(files)} files, {size_text(total_bytes(files))}; as a container about {image_bytes(files) / 1e9:.1f} GB "
        f"(estimated: with python:3.11-slim and the packages of requirements.txt, torch for CPUs)"
    )


def write_space(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a Space into an empty folder, or over an earlier Space of the same kind, replacing everything
    except what does not belong to a Space, such as .git, and what else is in hidden folders, such as secrets.

    Raises:
        ConfigError: the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder")
    if folder.is_dir() and any(folder.iterdir()) and sdk_of(folder) != sdk_in(files["README.md"].decode()):
        raise ConfigError(f"{folder} is not empty, and no Space of this app and kind: name another folder")
    for name in {name.partition("/")[0] for name in files}:
        path = folder / name
        if name.startswith(".") and path.is_dir() and not path.is_symlink():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name, content in files.items():
        write_bytes(folder / name, content)


def sdk_of(folder: Path) -> str | None:
    """The kind of Space that was built in a folder, docker or static; None if there is none."""
    try:
        return sdk_in((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # also not UTF-8
        return None


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """The files as one archive; the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # dated 1980: the time of day must not change the bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def push_space(files: Mapping[str, bytes], repo_id: str, *, token: str | None = None, private: bool = False) -> str:
    """Create or update a Space; returns its address.

    Raises:
        HubError: see ``ddpm.storage.publish``; if the Hub refuses to create it, with the plan that it requires.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_space(files, Path(folder))
        try:
            return publish(
                Path(folder), repo_id, kind="space", token=token, private=private,
                space_sdk=sdk_in(files["README.md"].decode()), message="Built by python -m ddpm",
            )  # fmt: skip
        except HubError as error:
            if error.status in (402, 403):
                raise HubError(f"{error}. {PLAN}", error.status) from None
            raise
