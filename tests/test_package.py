"""The package: what a wheel of it holds, and that it works from any folder."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ddpm

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The files of a wheel, as pip lays them into an environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob(f"ddpm_lab-{ddpm.__version__}-*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.slow
def test_a_wheel_holds_the_package_with_its_models_and_nothing_else(wheel):
    assert {path.name for path in wheel.iterdir()} == {"ddpm", f"ddpm_lab-{ddpm.__version__}.dist-info"}
    tracked = subprocess.run(["git", "ls-files", "ddpm"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {path.relative_to(wheel).as_posix() for path in (wheel / "ddpm").rglob("*") if path.is_file()} == set(
        tracked.split()
    )
    assert "ddpm = ddpm.cli:main" in next(wheel.glob("*.dist-info/entry_points.txt")).read_text()


@pytest.mark.slow
def test_the_command_works_from_any_folder(wheel, tmp_path):
    start = "import sys; from ddpm.cli import main; main(sys.argv[1:])"
    two = ["sample", "grid", "--model", "digits", "--num-samples", "2", "--num-steps", "2", "--out", "two.png"]
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    command = [sys.executable, "-c", start, *two]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "two.png").stat().st_size > 500


def test_the_ranges_of_the_package_hold_the_pins_of_the_app():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line[:1].isalpha()]
    pins = {pin.name: next(iter(pin.specifier)).version for pin in pinned}
    ranges = {wanted.name: wanted.specifier for wanted in map(Requirement, PROJECT["dependencies"])}
    assert ranges.keys() == pins.keys() - {"streamlit"}  # which the pages alone need
    assert all(specifier.contains(pins[name]) for name, specifier in ranges.items())
