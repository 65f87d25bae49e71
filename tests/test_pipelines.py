"""Pipelines of diffusers as models: they sample as diffusers samples them, and what is none is refused in one line."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ddpm import torchvision_cpu
from ddpm.errors import DDPMError
from ddpm.evaluation.ladder import climb, closeness, rungs
from ddpm.models import load_model
from ddpm.randomness import derive_seed
from ddpm.sampling import generate
from pages.components import models
from tests.hub_server import TOKEN

SMALL = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 1,
    "block_out_channels": (16, 32),
    "norm_num_groups": 8,
    "attention_head_dim": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


def save(folder, unet=SMALL, **scheduler):
    """A pipeline with random weights, as diffusers saves one."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    DDPMPipeline(UNet2DModel(**unet), DDPMScheduler(**scheduler)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save(tmp_path_factory.mktemp("pipeline") / "Small_1.0")


def files_of(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pipeline(original, tmp_path):
    """A pipeline of one's own to spoil."""
    return shutil.copytree(original, tmp_path / "pipeline")


def sampled_by_diffusers(folder, count: int, seed: int, num_steps: int) -> torch.Tensor:
    from diffusers import DDIMPipeline, DDIMScheduler

    theirs = DDIMPipeline.from_pretrained(folder)
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config, timestep_spacing="trailing")
    theirs.set_progress_bar_config(disable=True)
    noise = [torch.Generator().manual_seed(derive_seed(seed, index)) for index in range(count)]
    # Where x0 is clipped, eps has to follow it: our denoiser's rule, and their option.
    images = theirs(count, noise, num_inference_steps=num_steps, use_clipped_model_output=True, output_type="np").images
    return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "num_train_timesteps": 200},
        {"beta_schedule": "scaled_linear", "prediction_type": "sample", "clip_sample": False},
        {"trained_betas": np.linspace(0.001, 0.05, 100).tolist(), "num_train_timesteps": 100},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"thresholding": True, "clip_sample": False},  # up to 1, which is the default: clipping
        {"clip_sample": False, "clip_sample_range": 3.0},
    ],
)
def test_our_ddim_makes_the_images_of_diffusers_own_pipeline(tmp_path, scheduler):
    folder = save(tmp_path / "pipeline", **scheduler)
    ours = generate(load_model(str(folder)), 3, seed=7)
    torch.testing.assert_close(ours, sampled_by_diffusers(folder, 3, 7, 50), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_pipeline_is_a_model_like_any_other(original):
    model = load_model(str(original))
    assert (model.num_classes, model.config.image_shape) == (0, (3, 8, 8))
    assert model.config.name == "small_1-0"
    *climbed, reference = [event for event in climb(model, rungs(1000, steps=[5, 10]), 2) if hasattr(event, "images")]
    assert all(closeness(each, reference).psnr > 0 for each in climbed)
    with pytest.raises(DDPMError, match="unconditional: it takes no labels"):
        generate(model, 1, labels=[3])


@pytest.mark.slow
def test_an_old_repo_keeps_its_parts_beside_the_index_and_its_attention_under_older_names(pipeline, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    for path in pipeline.rglob("*.json"):
        shutil.copyfile(path, old / path.name)
    newer = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(pipeline / "unet" / "diffusion_pytorch_model.safetensors").items():
        for new, former in newer.items():
            name = name.replace(f".{new}.", f".{former}.")
        weights[name] = value
    assert any(".proj_attn." in name for name in weights)
    save_file(weights, old / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    assert torch.equal(generate(load_model(str(old)), 2), generate(load_model(str(pipeline)), 2))


@pytest.mark.slow
def test_the_hub_gives_pipelines_as_well_and_no_pickle_is_fetched(hub, original, tmp_path):
    commit = hub.add("them/ddpm", files_of(original) | {"unet/diffusion_pytorch_model.bin": b"\x80\x04K\x01."})
    model = load_model("hf://them/ddpm")
    assert model.source == f"hf://them/ddpm@{commit[:7]}"
    assert torch.equal(generate(model, 1), generate(load_model(str(original)), 1))
    assert not [*(tmp_path / "hf").rglob("*.bin")]


@pytest.mark.slow
def test_the_pages_open_a_pipeline(hub, original, open_page):
    models._listed.clear()
    reference = f"hf://them/ddpm@{hub.add('them/ddpm', files_of(original))}"
    small = {"play_count": "2", "play_steps": "5"}
    app = open_page("pages/playground.py", play_model="hf://them/ddpm", **small)
    assert any("unet/diffusion_pytorch_model.safetensors" in text.value for text in app.caption)
    app.button(key="play_model_download").click().run()
    assert not app.exception
    assert app.selectbox(key="play_model").value == reference
    assert app.get("download_button")
    for name, key in (("ladder", "ladder_model"), ("evaluate", "eval_model")):
        app = open_page(f"pages/{name}.py", **{key: reference})
        assert not app.exception
        assert not app.error


@pytest.mark.slow
def test_pull_and_eval_take_a_pipeline(hub, original, cli, tmp_path):
    hub.add("them/ddpm", files_of(original))
    pulled = cli("pull", "hf://them/ddpm", "--out", "plain")
    assert pulled.code == 0, pulled.err
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0)
    for k in range(40):
        torchvision_cpu.utils.save_image(torch.from_numpy(noise.random((3, 8, 8))), images / f"{k}.png")
    command = ["eval", "--model", "plain", "--num-samples", "4", "--num-steps", "2"]
    alone = cli(*command, "--out", "alone.json")
    assert alone.code == 0, alone.err
    assert "nothing says which images this model learned from" in alone.err
    beside = cli(*command, "--data", str(images), "--out", "beside.json")
    assert beside.code == 0, beside.err
    wrong = cli(*command, "--data", "mnist")
    assert wrong.code == 1
    assert "data.channels: must be 1 for mnist, got 3" in wrong.err


# -- what is refused -----------------------------------------------------------------------------------------------


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spoil_weights(path, spoil) -> None:
    weights = load_file(path)
    spoil(weights)
    save_file(weights, path, metadata={"format": "pt"})


def with_nan(weights) -> None:
    weights["conv_in.bias"][0] = float("nan")


def renamed(weights) -> None:
    weights["conv_in.scale"] = weights.pop("conv_in.bias")


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("unet/config.json", {"num_class_embeds": 10}, "num_class_embeds"),
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "_class_name: Input should be 'UNet2DModel'"),
        ("unet/config.json", {"in_channels": 4, "out_channels": 4}, "in_channels: Input should be 1 or 3"),
        ("unet/config.json", {"out_channels": 1}, "out_channels must be in_channels"),
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block"),
        ("unet/config.json", {"block_out_channels": [2**20, 2**20]}, "it holds"),
        ("unet/config.json", {"block_out_channels": [16, 17]}, "diffusers cannot build"),
        ("unet/config.json", {"down_block_types": ["os.system", "x"]}, "diffusers cannot build"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "prediction_type"),
        ("scheduler/scheduler_config.json", {"use_flow_sigmas": True}, "use_flow_sigmas"),
        ("scheduler/scheduler_config.json", {"clip_sample_range": 3.0}, "clip_sample_range 3 is not supported: set it"),
        (
            "scheduler/scheduler_config.json",
            {"thresholding": True, "sample_max_value": 1.5},
            "thresholding (dynamic, up to sample_max_value 1.5) is not supported",
        ),
        ("scheduler/scheduler_config.json", {"beta_schedule": "x"}, "diffusers cannot build"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}, "num_train_timesteps"),
    ],
)
def test_what_is_no_unconditional_pipeline_of_pixels_is_refused(pipeline, part, values, message):
    change(pipeline / part, **values)
    refused(pipeline, message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (with_nan, "conv_in.bias holds values that are not finite"),
        (renamed, "conv_in.bias"),
        (dict.clear, "it holds 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(pipeline, spoil, message):
    spoil_weights(pipeline / "unet" / "diffusion_pytorch_model.safetensors", spoil)
    refused(pipeline, message)


def test_weights_as_a_pickle_and_damaged_files_are_refused(pipeline):
    weights = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(pipeline, "file not fully covered")
    weights.rename(weights.with_suffix(".bin"))
    refused(pipeline, "its weights are a pickle")
    (pipeline / "unet" / "config.json").write_text("[" * 10_000)
    weights.with_suffix(".bin").rename(weights)
    refused(pipeline, "is no JSON")


@pytest.mark.slow
def test_half_precision_is_read_where_the_file_has_its_usual_name(tmp_path):
    from diffusers import DDPMPipeline

    whole = save(tmp_path / "whole")
    DDPMPipeline.from_pretrained(whole).to(torch.float16).save_pretrained(tmp_path / "half")
    ours, theirs = load_model(str(tmp_path / "half")).network, load_model(str(whole)).network
    for (name, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(value, expected.half().float()), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"variant": "fp16"}, "its weights exist only as the variant fp16, which is not read: save it again"),
        ({"max_shard_size": "20KB"}, "its weights are split over several files (sharded), and only one is read"),
        ({"safe_serialization": False}, "its weights are a pickle (diffusion_pytorch_model.bin), which is never read"),
    ],
)
def test_weights_that_lie_otherwise_are_named_here_and_on_the_hub(original, tmp_path, hub, how, message):
    from diffusers import DDPMPipeline

    DDPMPipeline.from_pretrained(original).save_pretrained(tmp_path / "other", **how)
    assert not (tmp_path / "other" / "unet" / "diffusion_pytorch_model.safetensors").exists()
    refused(tmp_path / "other", message)
    hub.add("them/other", files_of(tmp_path / "other"))
    refused("hf://them/other", message)


@pytest.mark.parametrize("scheduler", ["ScoreSdeVeScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_scheduler_that_does_not_noise_by_betas_is_not_read_as_one(pipeline, scheduler):
    import diffusers

    getattr(diffusers, scheduler)().save_pretrained(pipeline / "scheduler")
    refused(pipeline, "is of no unconditional pipeline of pixels")


def test_without_diffusers_it_is_said_what_to_install(pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    refused(pipeline, "pip install diffusers")


def refused(folder, message: str) -> None:
    with pytest.raises(DDPMError) as caught:
        load_model(str(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_describes_training_or_is_made_of_it_refuses_a_pipeline(original, cli, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for command in (["report"], ["push", "me/copy"], ["export", "--out", "copy"]):
        result = cli(*command, "--model", str(original))
        assert result.code == 1
        assert "is a pipeline of diffusers" in result.err
