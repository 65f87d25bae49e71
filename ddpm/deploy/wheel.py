"""This copy of the package as a wheel, for a machine that is to run the same code: the package is on no index."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from .. import __version__
from ..errors import ConfigError

NAME = "ddpm-lab"
PACKAGE = Path(__file__).resolve().parents[1]
ABOUT = f"ddpm_lab-{__version__}.dist-info"
FILE_NAME = f"ddpm_lab-{__version__}-py3-none-any.whl"
SHIPPED = "pretrained"  # most of the bytes


def wheel(shipped_models: bool = True) -> bytes:
    """A wheel of the running code, which asks for the versions of the libraries that are installed here.

    Args:
        shipped_models: whether the models that come with the package are in it.
    """
    files = {
        f"ddpm/{name}": path.read_bytes()
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and _belongs(name := path.relative_to(PACKAGE).as_posix(), shipped_models)
    }
    files[f"{ABOUT}/METADATA"] = _metadata().encode()
    files[f"{ABOUT}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: ddpm\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{ABOUT}/entry_points.txt"] = b"[console_scripts]\nddpm = ddpm.cli:main\n"
    files[f"{ABOUT}/RECORD"] = _record(files).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of no date, so that the same code is the same wheel
    return buffer.getvalue()


def _belongs(name: str, shipped_models: bool) -> bool:
    return "__pycache__" not in name and (shipped_models or not name.startswith(f"{SHIPPED}/"))


def _record(files: dict[str, bytes]) -> str:
    def digest(content: bytes) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")

    lines = [f"{name},sha256={digest(content)},{len(content)}" for name, content in files.items()]
    return "\n".join([*lines, f"{ABOUT}/RECORD,,", ""])


def _metadata() -> str:
    needs = [f"Requires-Dist: {name}=={version(name).partition('+')[0]}" for name in _libraries()]  # not torch's +cpu
    return "\n".join(["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {__version__}", *needs, ""])


def _libraries() -> list[str]:
    """The names of the libraries that the package needs: as its checkout says, else as it was installed."""
    project = PACKAGE.parent / "pyproject.toml"
    try:
        lines = (
            tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
            if project.is_file()
            else requires(NAME) or []
        )
    except PackageNotFoundError:
        raise ConfigError(f"{PACKAGE} is neither a checkout of the repository nor an installed {NAME}") from None
    return [re.match(r"[\w.-]+", line)[0] for line in lines]
