"""What is known to go wrong before a training begins: each case with the value that fits, nothing where all is well."""

import numpy as np
import pytest
from PIL import Image

from ddpm.config import Config, config_from_dict, load_config, with_overrides
from ddpm.errors import ConfigError, DataError
from ddpm.image_folder.reading import Sizes
from ddpm.training import queue
from ddpm.training.preflight import Facts, Finding, check, facts, preflight
from tests.conftest import ROOT

PLENTY = Facts(Sizes(57_000, 3_000, None))


def paint(path, *, coloured=False, seed=0):
    """A PNG of noise: grey, or of all colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (12, 12, 3) if coloured else (12, 12)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Make a folder of so many images, in classes or not."""

    def make(count: int, classes=(), **how):
        for i in range(count):
            paint(tmp_path / "images" / (classes[i % len(classes)] if classes else "") / f"{i:03}.png", seed=i, **how)
        return tmp_path / "images"

    return make


def of_folder(path, **changes) -> Config:
    """The mnist preset on a folder of images."""
    config = with_overrides(load_config(ROOT / "configs" / "mnist.yaml"), ["data.dataset=folder", f"data.path={path}"])
    return with_overrides(config, [f"{field.replace('__', '.')}={value}" for field, value in changes.items()])


def found(findings: list[Finding]) -> dict[str, Finding]:
    by_field = {finding.field: finding for finding in findings}
    assert len(by_field) == len(findings)
    return by_field


@pytest.mark.parametrize("preset", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configs_are_fine(preset, folder, monkeypatch):
    if preset.stem == "folder":
        monkeypatch.chdir(folder(200, coloured=True).parent)  # where it looks for its images
    assert [finding for finding in check(load_config(preset)) if finding.kind != "note"] == []


def test_the_mnist_preset_on_sixty_coloured_images_of_two_classes(folder):
    """It makes 20 steps under a warm-up of 300, and used to say "done"."""
    config = of_folder(folder(60, ["cat", "dog"], coloured=True))
    findings = found(check(config))
    have = facts(config.data).sizes
    assert findings["model.num_classes"].kind == "fault"
    assert findings.pop("model.num_classes").text == "10 classes are asked for, and the folder has 2 class folders"
    assert findings["data.path"].kind == "note"
    assert findings.pop("data.path").text.startswith(f"{have.test} of 60 images are set aside for the test")
    values = {field: finding.value for field, finding in findings.items()}
    assert values.pop("data.val_fraction") >= 10 / (have.train + have.val)
    assert values == {"data.channels": 3, "training.batch_size": 8, "training.warmup_steps": 2,
                      "training.ema_decay": 0.5}  # fmt: skip
    assert "20 steps in all, under a warm-up of 300" in findings["training.warmup_steps"].text


@pytest.mark.slow
def test_what_would_fit_fits(folder):
    """Each value put in, one after the other as at the buttons of the page, until nothing is left but notes."""
    config = of_folder(folder(200, ["cat", "dog"], coloured=True), training__epochs=1, schedule__num_timesteps=50,
                       sampling__guidance_interval="null")  # fmt: skip
    for _ in range(10):
        wrong = [finding for finding in check(config) if finding.kind != "note"]
        if not wrong:
            break
        config = with_overrides(config, [f"{wrong[0].field}={wrong[0].value}"])
    assert wrong == []
    assert (config.model.num_classes, config.data.channels, config.schedule.num_timesteps) == (2, 3, 1000)


@pytest.mark.parametrize(("timesteps", "left"), [(10, "95 %"), (50, "78 %")])
def test_a_short_linear_schedule_leaves_the_image_in_the_noise(timesteps, left):
    config = config_from_dict({"schedule": {"num_timesteps": timesteps}, "sampling": {"num_steps": 5}})
    (finding,) = preflight(config, PLENTY)
    assert f"training left {left} of the image's amplitude" in finding.text
    assert (finding.field, finding.value) == ("schedule.num_timesteps", 1000)


@pytest.mark.parametrize(
    ("values", "field", "value"),
    [
        ({"schedule": {"beta_end": 0.005}, "diffusion": {"prediction_type": "v"}}, "schedule.zero_terminal_snr", True),
        ({"schedule": {"beta_end": 0.005}}, "schedule.name", "cosine"),
        ({"sampling": {"spacing": "leading", "num_steps": 3}}, "sampling.spacing", "trailing"),
    ],
)
def test_signal_where_sampling_starts_has_the_cure_that_works(values, field, value):
    (finding,) = preflight(config_from_dict(values), PLENTY)
    assert (finding.field, finding.value) == (field, value)


def test_a_folder_too_small_to_evaluate_is_said_before_it_trains(folder):
    config = of_folder(folder(6), model__num_classes=0)
    assert "too few to evaluate the model with" in found(check(config))["data.path"].text


def test_grey_images_are_no_coloured_ones_however_they_are_stored(folder, tmp_path):
    config = of_folder(folder(30), model__num_classes=0)
    assert facts(config.data).coloured is False
    for path in (tmp_path / "images").iterdir():
        Image.open(path).convert("RGB").resize((40, 40)).save(path.with_suffix(".jpg"), quality=40)
        path.unlink()
    assert facts(config.data).coloured is False


@pytest.mark.parametrize(("classes", "asked", "fits"), [(["a", "b"], 10, 2), (["a", "b", "c"], 2, 3), ([], 2, 0)])
def test_other_classes_than_the_folder_has_are_refused_before_the_name_is_taken(
    folder, cli, output_dir, tmp_path, classes, asked, fits
):
    config = of_folder(folder(30, classes), model__num_classes=asked)
    assert found(check(config))["model.num_classes"].value == fits
    with pytest.raises(ConfigError, match=r"model\.num_classes: \d+ classes are asked for, and the folder has"):
        queue.launch(config)
    path = ROOT / "configs" / "mnist.yaml"
    for command in ("train", ("runs", "launch")):
        done = cli(*([command] if isinstance(command, str) else command), "--config", path, "--set",
                   "data.dataset=folder", "--set", f"data.path={config.data.path}", "--set",
                   f"model.num_classes={asked}")  # fmt: skip
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert done.err.startswith("error: model.num_classes: ")
    assert not (output_dir / "mnist").exists()


def test_a_folder_that_is_not_there_raises_what_loading_it_would():
    with pytest.raises(DataError, match=r"data\.path .*/nowhere is not a folder"):
        check(of_folder("nowhere", model__num_classes=0))
    with pytest.raises(ConfigError, match="device 'tpu' is not available here"):
        check(with_overrides(Config(), ["training.device=tpu"]))


@pytest.mark.slow
def test_train_says_it_on_stderr_before_the_first_step(cli, tmp_path, folder):
    path = ROOT / "configs" / "digits.yaml"
    settings = ("training.epochs=1", "training.batch_size=64", "schedule.num_timesteps=10", "sampling.num_steps=2",
                "model.base_channels=8", "model.head_channels=8", "training.ema_decay=0.5")  # fmt: skip
    done = cli("train", "--config", path, *(part for setting in settings for part in ("--set", setting)))
    assert done.code == 0
    warned = [line.split(":")[:2] for line in done.err.splitlines()]
    assert warned == [["warning", " training.warmup_steps"], ["warning", " schedule.num_timesteps"]]
    assert "(2 would fit, or more epochs)" in done.err


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["training.start_from=mnist"], None),
        (["training.start_from=mnist", "model.base_channels=64"], "mnist has a network of another 'base_channels'"),
        (["training.start_from=nobody"], "nobody"),
        (["training.start_from=hf://someone/else"], None),  # looked at when the training begins
    ],
)
def test_the_model_to_start_from_is_there_and_fits(changes, text):
    findings = found(check(with_overrides(load_config(ROOT / "configs" / "mnist.yaml"), changes)))
    assert (text is None) == (findings == {})
    if text:
        assert findings["training.start_from"].kind == "fault"
        assert text in findings["training.start_from"].text
