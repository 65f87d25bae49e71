"""Models that move to other programs: diffusers draws the same from the same noise, onnxruntime computes the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddpm import load_model, torchvision_cpu
from ddpm.config.edit import sampling_settings
from ddpm.deploy.onnx_file import OPSET
from ddpm.deploy.to_diffusers import why_its_own, write_pipeline
from ddpm.models import Model
from ddpm.sampling import sample

diffusers = pytest.importorskip("diffusers", reason="what is exported to diffusers is drawn with diffusers")

CALL = """
import sys, torch
exec(open(sys.argv[3]).read())  # without which torchvision, which diffusers imports, needs a GPU's torch
from diffusers import DiffusionPipeline
folder, calls = sys.argv[1], torch.load(sys.argv[2])
pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
pipeline.set_progress_bar_config(disable=True)
torch.save([pipeline(**call, output_type="pt").images for call in calls], sys.argv[2])
assert not [name for name in sys.modules if name.split(".")[0] == "ddpm"]
"""


def ours(model: Model, noise: torch.Tensor, steps: int, labels=None, **settings) -> torch.Tensor:
    settings = sampling_settings(model.config, sampler="ddim", spacing="trailing", num_steps=steps, **settings)
    start = model.schedule.num_timesteps - 1
    *_, last = sample(model, len(noise), labels=labels, settings=settings, x_t=noise, start=start)
    return last.x0


def in_diffusers(folder: Path, calls: list[dict]) -> list[torch.Tensor]:
    """What the pipeline in a folder draws, in a Python that has diffusers and no ddpm."""
    at = folder.parent / "calls.pt"
    torch.save(calls, at)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HOME": str(folder.parent)}
    command = [sys.executable, "-I", "-c", CALL, str(folder), str(at), torchvision_cpu.__file__]
    done = subprocess.run(command, cwd=folder.parent, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(at)


PLAIN = {
    "model__num_classes": 0,
    "model__patch_size": 1,
    "model__stem_channels": 0,
    "model__attention_resolutions": [4],
}


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_plain_network_is_a_unet2d_model_and_its_pipeline_draws_the_same(random_model, tmp_path, prediction):
    model = random_model(**PLAIN, model__channel_mult=[1, 2], diffusion__prediction_type=prediction)
    assert write_pipeline(model, tmp_path / "out") == why_its_own(model.config) == []
    assert not [*(tmp_path / "out").rglob("*.py")]
    pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.unet) is diffusers.UNet2DModel
    noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    call = {"num_inference_steps": 20, "use_clipped_model_output": True, "output_type": "np"}
    theirs = pipeline(3, generator=torch.Generator().manual_seed(5), **call).images
    expected = ours(model, noise, 20).div(2).add(0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(theirs), expected, atol=2e-4, rtol=0)
    # And back: this library reads the folder as it reads any pipeline.
    torch.testing.assert_close(
        ours(load_model(str(tmp_path / "out")), noise, 20), ours(model, noise, 20), atol=2e-4, rtol=0
    )


@pytest.mark.slow
def test_every_other_network_brings_its_pipeline_and_draws_the_same_without_this_library(random_model, tmp_path):
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model = random_model(
        model__num_classes=10, model__patch_size=2, model__stem_channels=8, model__attention_resolutions=[],
        diffusion__prediction_type="u", sampling__guidance_interval=[200, 700],
    )  # fmt: skip
    reasons = write_pipeline(model, tmp_path / "out")
    assert reasons == ["classes", "patches (model.patch_size)", "a stem (model.stem_channels)", "u-prediction"]
    calls = [
        {"latents": noise, "num_inference_steps": 10, "class_labels": [3, -1], "guidance_scale": 3.0},
        {"latents": noise, "num_inference_steps": 10},
    ]
    guided, free = in_diffusers(tmp_path / "out", calls)
    torch.testing.assert_close(guided, ours(model, noise, 10, [3, -1], guidance_scale=3.0), atol=2e-4, rtol=0)
    torch.testing.assert_close(free, ours(model, noise, 10), atol=2e-4, rtol=0)
    assert "trust_remote_code=True" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_the_command_exports_a_distilled_model_that_draws_the_same(cli, tmp_path):
    done = cli("export", "--model", "mnist-fast", "--to", "diffusers", "--out", "fast")
    assert done.code == 0, done.err
    assert "few steps that were learned (model.step_counts)" in done.err
    noise = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    (drawn,) = in_diffusers(tmp_path / "fast", [{"latents": noise, "num_inference_steps": 2, "class_labels": [7]}])
    torch.testing.assert_close(drawn, ours(load_model("mnist-fast"), noise, 2, [7]), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_the_command_writes_onnx_of_a_stated_opset_once_onnxruntime_agrees(cli, tmp_path, monkeypatch, exported_digits):
    from onnx import ModelProto

    monkeypatch.setattr("ddpm.deploy.onnx_file.onnx_bytes", lambda model, weights: exported_digits[weights])
    done = cli("export", "--model", "digits", "--to", "onnx", "--weights", "fp16", "--out", "digits.onnx")
    assert done.code == 0, done.err
    assert f"opset {OPSET}, " in done.err
    assert "onnxruntime differs from PyTorch by" in done.err
    written = ModelProto.FromString((tmp_path / "digits.onnx").read_bytes())
    assert [(part.domain, part.version) for part in written.opset_import] == [("", OPSET)]
    monkeypatch.setitem(__import__("ddpm.deploy.onnx_file", fromlist=["TOLERANCE"]).TOLERANCE, "fp16", 1e-9)
    refused = cli("export", "--model", "digits", "--to", "onnx", "--weights", "fp16", "--out", "other.onnx")
    assert refused.code == 1
    assert "more than 1e-09: not written" in refused.err
    assert not (tmp_path / "other.onnx").exists()


def test_the_version_of_diffusers_in_the_folder_is_the_one_that_tests_it(random_model, tmp_path):
    write_pipeline(random_model(), tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert index["_diffusers_version"] == diffusers.__version__
