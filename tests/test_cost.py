"""What a network takes is known before it is run, and the app draws no model that would hold it up."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm.cost import cost_of
from ddpm.deploy.public import check_cost, check_memory, limits
from ddpm.errors import ConfigError, ModelError
from ddpm.models import load_model
from ddpm.unet import UNet


def far_sighted(random_model, size: int):
    """A model that compares each pixel of an image with every other: 20,000 parameters; as models are loaded."""
    data = {"dataset": "folder", "path": "x", "image_size": size}
    model = {"base_channels": 8, "channel_mult": [1, 1], "num_res_blocks": 1, "attention_resolutions": [size],
             "head_channels": 8}  # fmt: skip
    model = random_model(data=data, model=model)
    return replace(model, network=model.network.to(memory_format=torch.channels_last))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_cost_is_what_running_it_takes(name):
    model = load_model(name)
    x, t = torch.zeros(1, *model.config.image_shape), torch.zeros(1, dtype=torch.long)
    network = model.network.to(memory_format=torch.contiguous_format)  # the counter overlooks fused attention
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, t)
    assert model.cost.macs == cost_of(network, x.shape[1:]).macs == counter.get_total_flops() // 2
    weights = sum(parameter.nbytes for parameter in model.network.parameters())
    assert x.nbytes < model.cost.memory < weights


@pytest.mark.slow
def test_what_attention_takes_grows_with_the_fourth_power_of_the_size(random_model):
    small, large = (far_sighted(random_model, size) for size in (64, 128))
    assert small.cost.work * 12 < large.cost.work < small.cost.work * 17
    assert large.cost.memory < 1e7  # fused
    kept = cost_of(large.network.to(memory_format=torch.contiguous_format), large.config.image_shape)
    assert 2.1e9 < kept.memory < 2.2e9  # twice the 16,384 x 16,384 products; 2.4 GB were measured


def test_fused_attention_counts_as_well():
    class Attending(torch.nn.Module):
        def forward(self, x, t, y):
            x = x.flatten(2)[..., None]  # (1, heads, tokens, 1)
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    cost = cost_of(Attending(), (2, 32, 32))
    assert cost.macs == 2 * 2 * 1024**2
    assert cost.values >= 2 * 1024**2


@pytest.mark.parametrize(("public", "sound", "too_much"), [("0", 128, 256), ("1", 64, 128)])
def test_a_small_model_with_much_to_do_is_refused_before_it_is_run(public, sound, too_much, random_model, monkeypatch):
    monkeypatch.setenv("DDPM_PUBLIC", public)
    check_cost(far_sighted(random_model, sound))
    with pytest.raises(ModelError, match=r"random model takes .* for one evaluation of one image, .* the most here"):
        check_cost(far_sighted(random_model, too_much))
    vast = far_sighted(random_model, 512)
    with pytest.raises(ModelError, match=r"takes 1\d,\d+\.\d billion multiply-accumulates"):
        check_cost(vast)


@pytest.mark.slow
@pytest.mark.parametrize("public", ["0", "1"])
def test_the_shipped_models_and_those_of_papers_are_drawn(public, random_model, monkeypatch):
    monkeypatch.setenv("DDPM_PUBLIC", public)
    of_ho_et_al = {"base_channels": 128, "channel_mult": [1, 2, 2, 2], "attention_resolutions": [16],
                   "num_res_blocks": 2, "head_channels": 256}  # fmt: skip
    data = {"dataset": "folder", "path": "x", "image_size": 32, "channels": 3}
    for model in (load_model("mnist"), load_model("digits"), random_model(data=data, model=of_ho_et_al)):
        check_cost(model)


def test_images_that_take_too_much_memory_together_are_refused(random_model):
    model = far_sighted(random_model, 64)
    most = limits().picture_memory // model.cost.memory
    check_memory(most, model)
    with pytest.raises(ConfigError, match=rf"{most + 1} images .* GB of memory at once.* at most {most}$"):
        check_memory(most + 1, model)


@pytest.mark.slow
def test_every_page_refuses_such_a_model(random_model, open_page, tmp_path, monkeypatch, output_dir):
    from ddpm.config import config_to_yaml
    from ddpm.files import write_text
    from ddpm.storage.weights import write_safetensors

    model = far_sighted(random_model, 256)
    folder = tmp_path / "pretrained" / "far"
    folder.mkdir(parents=True)
    write_safetensors(model.network, folder / "model.safetensors")
    write_text(folder / "config.yaml", config_to_yaml(model.config))
    monkeypatch.setattr("ddpm.storage.places.PRETRAINED", folder.parent)
    monkeypatch.setattr("ddpm.models.Model.cost", model.cost)
    monkeypatch.setattr(UNet, "forward", lambda *_: pytest.fail("it was run"))
    for page in ("streamlit_app.py", "pages/playground.py", "pages/ladder.py", "pages/evaluate.py", "pages/share.py"):
        errors = [error.value for error in open_page(page).error]
        assert len(errors) == 1, page
        assert "for one evaluation of one image" in errors[0], page
