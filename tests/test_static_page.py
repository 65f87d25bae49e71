"""The static page's files: the network in them is the library's, and what cannot go is refused.

tests/browser/test_static.py opens the page itself.
"""

import json
import tarfile

import numpy as np
import onnxruntime
import pytest
import torch

from ddpm import load_model
from ddpm.config.yaml_text import parse_yaml
from ddpm.deploy.onnx_file import onnx_bytes
from ddpm.deploy.plane_page import LEARNING, POINTS, SCHEDULES, T, plane_json
from ddpm.deploy.space import push_space, sdk_of, write_space
from ddpm.deploy.static_page import MAX_BYTES, RUNTIME_BYTES, _check_exportable, description, static_files
from ddpm.errors import DDPMError, ModelError
from ddpm.models import Model
from ddpm.plane import DATASETS, MLP, law_of, sample_data, train
from ddpm.schedule import make_schedule
from ddpm.unet import UNet
from tests.hub_server import TOKEN
from tests.test_pipelines import save


@pytest.fixture(scope="module")
def digits():
    return load_model("digits")


def run(onnx: bytes, **feeds) -> torch.Tensor:
    session = onnxruntime.InferenceSession(onnx)
    (output,) = session.run(None, {name: value.numpy() for name, value in feeds.items()})
    return torch.from_numpy(output)


def inputs(model: Model, count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    feeds = {
        "x": torch.randn(count, *model.config.image_shape, generator=generator),
        "t": torch.randint(model.schedule.num_timesteps, (count,), generator=generator),
    }
    return feeds | ({"y": torch.arange(count) % (model.num_classes + 1)} if model.num_classes else {})


DISTILLED = {"model__step_counts": [1, 2, 4], "sampling__num_steps": 4, "sampling__guidance_scale": 1}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 11])
def test_the_exported_network_is_the_network_for_any_number_of_images(digits, exported_digits, count):
    feeds = inputs(digits, count)
    with torch.inference_mode():
        expected = digits.network(*feeds.values())
    torch.testing.assert_close(run(exported_digits["fp32"], **feeds), expected, rtol=1e-4, atol=1e-4)
    # Halves have 11 bits: a weight is off by 2^-12 at most, and the output by what hundreds of those add up to.
    assert (run(exported_digits["fp16"], **feeds) - expected).square().mean().sqrt() < 2e-3
    assert len(exported_digits["fp16"]) < 0.6 * len(exported_digits["fp32"])


@pytest.mark.slow
def test_a_network_without_classes_takes_none(random_model):
    model = random_model(model__num_classes=0)
    feeds = inputs(model, 3)
    assert feeds.keys() == {"x", "t"}
    with torch.inference_mode():
        expected = model.network(*feeds.values())
    torch.testing.assert_close(run(onnx_bytes(model), **feeds), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_distilled_network_is_told_its_number_of_steps(random_model):
    model = random_model(**DISTILLED)
    feeds = inputs(model, 3) | {"n": torch.tensor([0, 2, 1])}
    with torch.inference_mode():
        expected = model.network(*feeds.values())
    torch.testing.assert_close(run(onnx_bytes(model), **feeds), expected, rtol=1e-4, atol=1e-4)
    page = description(model)
    assert (page["stepCounts"], page["samplers"], page["start"]["steps"]) == ((1, 2, 4), ("ddim",), 4)
    assert page["spacing"] == "trailing"


def test_the_page_gets_the_tables_of_the_library(digits):
    page = json.loads(json.dumps(description(digits)))
    np.testing.assert_array_equal(page["alphasCumprod"], digits.schedule.alphas_cumprod.numpy())
    assert page["spacing"] == digits.config.sampling.spacing
    assert page["start"]["guidance"] == digits.config.sampling.guidance_scale
    assert page["guidanceInterval"] is digits.config.sampling.guidance_interval is None
    assert description(load_model("mnist"))["guidanceInterval"] == (200, 600)


def test_the_plane_is_the_librarys():
    content = plane_json()
    assert len(content) < 150_000
    page = json.loads(content)
    assert next(iter(page["data"])) == "mixture"
    assert page["data"].keys() == {*DATASETS}
    for name in SCHEDULES:
        np.testing.assert_allclose(page["schedules"][name], make_schedule(name, T).alphas_cumprod, atol=1e-12)
    for name, data in page["data"].items():
        points, law = sample_data(name, POINTS), law_of(name)
        np.testing.assert_allclose(data["points"], points.x.flatten(), atol=6e-4)
        np.testing.assert_allclose(data["law"]["means"], law.means.flatten(), atol=6e-5)
        assert data["labels"] == points.labels.tolist()
        assert (data["law"]["labels"], data["law"]["deviation"]) == (law.labels.tolist(), law.deviation)
        assert law.weights.unique().numel() == 1  # the page takes them to be equal


@pytest.mark.slow
def test_no_network_has_less_loss_than_the_exact_answer():
    """Which is what the page draws the line at."""
    floors = json.loads(plane_json())["data"]["mixture"]["floors"]
    torch.manual_seed(0)
    network, dropped = MLP(T, num_classes=2), LEARNING["labelDropout"]
    for name, steps in (("linear", 1500), ("rectified", 1500)):
        schedule = make_schedule(name, T)
        losses = list(train(network, sample_data("mixture", 5000), schedule, steps, label_dropout=dropped))
        assert 0.95 < sum(losses[-300:]) / 300 / floors[name] < 1.1


# -- what cannot go ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pipeline_of_diffusers_is_refused_in_one_line(tmp_path):
    with pytest.raises(ModelError, match=r"^.* is a pipeline of diffusers: a static page takes .*$"):
        static_files(str(save(tmp_path / "pipeline")))


def test_a_network_that_is_too_large_is_refused_in_one_line(tiny_config):
    config = tiny_config(model__base_channels=96, model__channel_mult=[1, 2, 4])
    with torch.device("meta"):
        network = UNet(**config.network_arguments())
    needed = 2 * sum(parameter.numel() for parameter in network.parameters())
    assert needed + RUNTIME_BYTES > MAX_BYTES
    with pytest.raises(ModelError, match=r"^run 'big': too large for a static page, .* MB of fp16 weights beside .*$"):
        _check_exportable([Model(config, network, "run 'big'")], "fp16")


def test_another_runtime_is_refused(tmp_path, cli):
    archive = tmp_path / "runtime.tgz"
    with tarfile.open(archive, "w:gz"):
        pass
    done = cli("static", "--model", "digits", "--out", "page", "--runtime", str(archive))
    assert done.code == 1
    assert "is not onnxruntime-web@" in done.err
    assert not (tmp_path / "page").exists()


def test_without_npm_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DDPMError, match=r"install Node\.js, or `npm pack onnxruntime-web"):
        static_files("digits")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --out FOLDER, --push USER/NAME, or both"),
        (("--out", "page", "--private"), "--private goes with --push"),
        (("--out", "page", "--app-url", "javascript:alert(1)"), "begins with https://"),
    ],
)
def test_wrong_usage_is_told(cli, options, said):
    done = cli("static", "--model", "digits", *options)
    assert done.code == 2
    assert said in done.err


# -- where it goes -------------------------------------------------------------------------------------------------


@pytest.fixture
def files(monkeypatch, exported_digits):
    """A page of the digits model without its runtime, which comes from elsewhere."""
    monkeypatch.setattr("ddpm.deploy.static_page._runtime_files", lambda archive: {})
    monkeypatch.setattr("ddpm.deploy.static_page.lessons_json", lambda models: b"[]")  # see test_lessons.py
    monkeypatch.setattr("ddpm.deploy.static_page.onnx_bytes", lambda model, weights: exported_digits[weights])
    return static_files("digits")


@pytest.mark.slow
def test_what_takes_long_is_said_before_it(files, monkeypatch, cli):
    done = cli("static", "--model", "digits", "--out", "page")
    assert [line.split()[0] for line in done.err.splitlines()] == ["packing", "drawing", "turning", "look"]


def test_a_model_of_ones_own_images_says_their_name_and_not_where_they_lie(random_model):
    data = {"dataset": "folder", "path": "/home/somebody/photos60", "image_size": 8}
    about = description(random_model(data=data, model={"num_classes": 0}))["about"]
    assert "8x8 pixels, trained on the images “photos60”, " in about


@pytest.mark.slow
def test_it_is_a_static_space_that_may_use_threads(files, tmp_path):
    front = parse_yaml(files["README.md"].decode().split("---\n")[1])
    assert front["sdk"] == "static"
    assert front["custom_headers"]["cross-origin-opener-policy"] == "same-origin"
    assert len(front["short_description"]) <= 60
    write_space(files, tmp_path / "page")
    assert sdk_of(tmp_path / "page") == "static"
    write_space(files, tmp_path / "page")
    (tmp_path / "page" / "README.md").write_text("---\nsdk: docker\ntags: [ddpm-lab]\n---\n")
    with pytest.raises(DDPMError, match="is not empty"):
        write_space(files, tmp_path / "page")


@pytest.mark.slow
def test_other_weights_are_another_version_to_the_cache(files):
    page = json.loads(files["model.json"])
    assert page["version"].encode() in files["sw.js"]
    other = static_files("digits", weights="fp32")
    assert json.loads(other["model.json"])["version"] != page["version"]
    # All that the page needs is listed to be kept; the worker that keeps it is the browser's own affair.
    assert {*page["offline"]} == {*files, "./"} - {"index.html", "sw.js", "README.md"}


@pytest.mark.slow
def test_pushing_creates_a_static_space(hub, files):
    url = push_space(files, "me/page", token=TOKEN)
    assert url.endswith("/spaces/me/page")
    (name,) = hub.repos
    assert {*hub.repos[name].at("main")[1]} - {".gitattributes"} == files.keys()
