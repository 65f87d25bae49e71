"""The folders for other hosts: what they hold, and that they run as they are."""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.public import memory
from ddpm import SamplingConfig, generate, load_model
from ddpm.deploy.hosts import CPU_INDEX, GRADIO, PYTHON, gradio_files, pages_files, streamlit_files
from ddpm.deploy.space import sdk_of, write_space
from ddpm.media.images import enlarge, make_grid, to_uint8
from tests.browser.conftest import serve, server_at
from tests.conftest import ROOT
from tests.websocket_client import connect

ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}", "OMP_NUM_THREADS": "1"}


def pins(text: str) -> list[str]:
    return [line for line in text.splitlines() if "==" in line]


@pytest.fixture(scope="module")
def for_streamlit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("streamlit") / "app"
    write_space(streamlit_files("digits"), folder)
    return folder


@pytest.mark.slow
def test_streamlits_folder_takes_the_cpu_build_of_torch_and_the_apps_own_versions(for_streamlit):
    index, *asked = (for_streamlit / "requirements.txt").read_text().splitlines()
    assert index == f"--extra-index-url {CPU_INDEX}"
    assert [pin.removesuffix("+cpu") for pin in asked] == pins((ROOT / "requirements.txt").read_text())
    assert [pin.partition("==")[0] for pin in asked if pin.endswith("+cpu")] == ["torch", "torchvision"]
    assert sdk_of(for_streamlit) == "streamlit"
    assert f"Python {PYTHON} under" in (for_streamlit / "README.md").read_text()
    assert not {"Dockerfile", "requirements.lock", "packages.txt"} & {path.name for path in for_streamlit.iterdir()}
    assert "address" not in (for_streamlit / ".streamlit" / "config.toml").read_text()


@pytest.mark.slow
def test_streamlit_runs_it_in_public_mode_and_in_two_gigabytes_after_a_visit_to_every_page(for_streamlit, tmp_path):
    pages = ["", *(path.stem for path in sorted((for_streamlit / "pages").glob("*.py")))]

    def command(port: int) -> list[str]:
        options = [f"--server.port={port}", "--server.address=127.0.0.1"]
        return [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *options]

    with serve(tmp_path, command, for_streamlit, ENVIRONMENT) as url:
        for host, code in (("lab.streamlit.app", 200), ("evil.example", 403)):
            assert answer(f"{url}/_stcore/health", host) == code
        with connect(url, origin=url) as visitor:
            for page in pages:
                visitor.open(page)
                assert visitor.exceptions == [], page
            visitor.open("share")
            assert "type only on a machine of your own" in visitor.text
        assert memory(server_at(url)) < 2e9


def answer(url: str, host: str) -> int:
    try:
        with urlopen(Request(url, headers={"Host": host}), timeout=30) as response:
            return response.status
    except HTTPError as error:
        return error.code


def test_github_publishes_the_page_with_the_actions_of_this_repository():
    files = pages_files({"index.html": b"page", "README.md": b"---"}, ["mnist"], ["mnist"])
    assert files.keys() == {".github/workflows/pages.yml", "README.md", "page/index.html"}
    workflow = files[".github/workflows/pages.yml"].decode()
    uses = re.compile(r"uses: (\S+)")
    assert {*uses.findall(workflow)} <= {*uses.findall((ROOT / ".github/workflows/pages.yml").read_text())}
    steps = yaml.safe_load(workflow)["jobs"]["deploy"]["steps"]
    assert {"path": "page"} in [step.get("with") for step in steps]
    assert b"sdk: pages" in files["README.md"]


@pytest.mark.slow
def test_a_folder_of_a_host_is_written_anew_and_hidden_files_of_its_owner_stay(tmp_path, cli):
    folder = tmp_path / "page"
    write_space(pages_files({"index.html": b"1", "old.js": b""}, ["mnist"], ["mnist"]), folder)
    (folder / ".github" / "workflows" / "mine.yml").write_text("mine")
    write_space(pages_files({"index.html": b"2"}, ["mnist"], ["mnist"]), folder)
    assert (folder / ".github" / "workflows" / "mine.yml").read_text() == "mine"
    assert [path.name for path in (folder / "page").iterdir()] == ["index.html"]
    done = cli("space", "--host", "gradio", "--model", "digits", "--out", str(folder))
    assert (done.code, "no Space of this app and kind" in done.err) == (1, True)
    for wrong in (["me/lab", "--out", "x"], []):
        done = cli("space", *wrong, "--host", "streamlit", "--model", "digits")
        assert (done.code, "--host streamlit only builds a folder" in done.err) == (2, True)


@pytest.mark.slow
def test_gradios_folder_says_what_a_space_on_zerogpu_needs():
    files = gradio_files("digits")
    about = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (about["sdk"], about["sdk_version"], about["app_file"]) == ("gradio", GRADIO, "app.py")
    assert {*pins(files["requirements.txt"].decode())} <= {*pins((ROOT / "requirements.txt").read_text())}
    assert {name.partition("/")[0] for name in files} == {"README.md", "app.py", "ddpm", "requirements.txt"}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="gradio needs an older pillow than the app: try it by hand")
def test_gradios_own_client_gets_the_picture_that_the_library_draws(tmp_path):
    from gradio_client import Client

    write_space(gradio_files("digits"), tmp_path / "app")
    env = ENVIRONMENT | {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}
    env |= {"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}

    def command(port: int) -> list[str]:
        env["GRADIO_SERVER_PORT"] = str(port)
        return [sys.executable, "app.py"]

    with serve(tmp_path, command, tmp_path / "app", env, health="/") as url:
        client = Client(url, verbose=False, download_files=str(tmp_path / "got"))
        path, way = client.predict("3", "ddim", 10, 2.0, 4, 7, api_name="/draw")
        with pytest.raises(Exception, match="greater than maximum value 100"):
            client.predict("3", "ddim", 500, 2.0, 4, 7, api_name="/draw")
    model = load_model("digits")
    settings = SamplingConfig(**model.config.sampling.model_dump() | {"num_steps": 10, "guidance_scale": 2.0})
    expected = enlarge(make_grid(to_uint8(generate(model, 4, labels=[3], settings=settings, seed=7))))
    drawn = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(drawn - np.asarray(expected.convert("RGB"))).max() <= 1
    assert len(way) == 8
