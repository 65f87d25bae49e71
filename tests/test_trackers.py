"""What TensorBoard, Trackio and Weights & Biases are told of a run, read back by their own readers."""

import json
import struct
from importlib.util import find_spec

import numpy as np
import pytest

from ddpm.config import config_from_dict, config_to_yaml
from ddpm.config.settings import all_settings
from ddpm.errors import ConfigError
from ddpm.files import RunFolder
from ddpm.training.run import Run
from ddpm.training.trackers import PROJECT, TRACKERS

SHORT = {"training__epochs": 3, "training__val_every": 5, "training__log_every": 3}


def watch(folder, config, images, last_step=None, **how) -> None:
    """Train with a grid at every validation; stop as a killed process does."""
    with Run(config, folder, data=images, **how) as run:
        for event in run.events():
            if getattr(event, "val_loss", None):
                run.keep_grid(event.step, PNG)
            if last_step and event.step >= last_step:
                break


def _png() -> bytes:
    from PIL import Image

    from ddpm.media.images import png_bytes

    return png_bytes(Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)))


PNG = _png()


def recorded(folder: RunFolder) -> dict[str, dict[int, float]]:
    """What the run itself has kept, by the names of trackers: {name: {step: value}}."""
    curves: dict[str, dict[int, float]] = {}
    for record in map(json.loads, folder.metrics.read_text().splitlines()):
        group = "training" if "train_loss" in record else "validation"
        for name in ("train_loss", "learning_rate", "images_per_second", "val_loss"):
            if name in record:
                curves.setdefault(f"{group}/{name}", {})[record["step"]] = record[name]
        for band, value in enumerate(record.get("loss_by_t", ())):
            if value is not None:
                curves.setdefault(f"loss_by_t/{band}", {})[record["step"]] = value
    return curves


def test_the_config_offers_exactly_the_trackers_there_are_and_names_each_once():
    (track,) = [setting for setting in all_settings()["training"] if setting.name == "track"]
    assert (track.kind, track.choices) == ("choices", tuple(TRACKERS))
    with pytest.raises(ConfigError, match=r"track.0: must be 'tensorboard', 'trackio' or 'wandb', got 'mlflow'"):
        config_from_dict({"training": {"track": ["mlflow"]}})
    with pytest.raises(ConfigError, match="each program once"):
        config_from_dict({"training": {"track": ["wandb", "wandb"]}})


def test_a_missing_package_is_named_before_anything_is_written(tiny_config, few_images, output_dir, monkeypatch, cli):
    monkeypatch.setattr("ddpm.training.trackers.find_spec", lambda name: None)
    config = tiny_config(training__track=["tensorboard", "trackio"])
    with pytest.raises(
        ConfigError, match=r"training.track: tensorboard is not installed: pip install tensorboard; tra"
    ):
        Run(config, RunFolder(output_dir / "x"), data=few_images).__enter__()
    assert not output_dir.exists()
    path = output_dir.parent / "x.yaml"
    path.write_text(config_to_yaml(config))
    refused = cli("train", "--config", path)
    assert refused.code == 1
    assert "training.track: tensorboard is not installed: pip install tensorboard" in refused.err


@pytest.mark.slow
def test_tensorboard_reads_one_curve_of_a_run_that_was_killed_and_resumed(tiny_config, few_images, output_dir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config, folder = tiny_config(**SHORT, training__track=["tensorboard"]), RunFolder(output_dir / "watched")
    watch(folder, config, few_images, last_step=9)  # after a checkpoint at 5
    watch(folder, config, few_images, resume=True)
    read = EventAccumulator(str(folder.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    read.Reload()
    for name, curve in recorded(folder).items():
        seen = [(event.step, event.value) for event in read.Scalars(name)]
        assert [step for step, _ in seen] == list(curve)
        assert [value for _, value in seen] == pytest.approx(list(curve.values()), rel=1e-6)
    assert {f"loss_by_t/{band}" for band in range(10)} <= set(read.Tags()["scalars"])
    assert [image.step for image in read.Images("samples")] == [5, 10, 15]
    assert (read.Images("samples")[0].width, read.Images("samples")[0].height) == (8, 8)
    (text, *_) = read.Tensors("config/text_summary")
    assert b"training:\n  epochs: 3\n" in text.tensor_proto.string_val[0]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio needs an older pillow than the app: try it by hand")
def test_trackio_shows_one_curve_of_a_run_that_was_killed_and_resumed(tiny_config, few_images, output_dir, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(output_dir.parent / "trackio"))  # before it is imported
    config, folder = tiny_config(**SHORT, training__track=["trackio"]), RunFolder(output_dir / "watched")
    watch(folder, config, few_images, last_step=9)
    watch(folder, config, few_images, resume=True)
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs(PROJECT)
    assert (run.name, run.config["training"]["epochs"]) == (config.name, 3)
    logs = SQLiteStorage.get_logs(PROJECT, run.name)
    for name, curve in recorded(folder).items():
        seen = [(log["step"], log[name]) for log in logs if name in log]
        assert [step for step, _ in seen] == list(curve)
        if name != "training/images_per_second":  # of the repeated steps, those of the first time are shown
            assert [value for _, value in seen] == pytest.approx(list(curve.values()))
    assert [log["step"] for log in logs if "samples" in log] == [5, 10, 15]
    assert len([*(output_dir.parent / "trackio").rglob("*.png")]) == 3


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed: it is tried by hand")
def test_wandb_keeps_a_run_offline_in_its_own_folder(tiny_config, few_images, output_dir, monkeypatch):
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(output_dir.parent / "wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    config, folder = tiny_config(**SHORT, training__track=["wandb"]), RunFolder(output_dir / "watched")
    watch(folder, config, few_images, last_step=9)
    watch(folder, config, few_images, resume=True)
    parts = sorted((folder.path / "wandb").glob("offline-run-*/*.wandb"))
    assert {part.stem for part in parts} == {f"run-{(folder.path / 'wandb' / 'run_id').read_text()}"}
    rows = [row for part in parts for row in wandb_rows(part)]
    for name, curve in recorded(folder).items():
        seen = [(row["_step"], row[name]) for row in rows if name in row]
        assert [step for step, _ in seen] == list(curve)
        if name != "training/images_per_second":
            assert [value for _, value in seen] == pytest.approx(list(curve.values()))
    assert [row["_step"] for row in rows if any(name.startswith("samples") for name in row)] == [5, 10, 15]


def wandb_rows(path) -> list[dict]:
    """The history in a file of wandb's, which has no reader of its own in Python: LevelDB's log after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, record, rows = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:  # the end of a block is too short for a header
            at += left
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record, at = record + content[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # the whole of a record, or its last part
            read, record = Record.FromString(record), b""
            if read.WhichOneof("record_type") == "history":
                items = {
                    ".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in read.history.item
                }
                rows.append({"_step": read.history.step.num} | items)
    return rows


@pytest.mark.slow
def test_in_public_mode_nothing_is_tracked(tiny_config, output_dir, cli, monkeypatch):
    config = tiny_config(**SHORT, name="alone", training__track=["tensorboard"])
    path = output_dir.parent / "alone.yaml"
    path.write_text(config_to_yaml(config))
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    assert cli("train", "--config", path).code == 0
    assert not (output_dir / "alone" / "tensorboard").exists()
    assert [*(output_dir / "alone" / "grids").iterdir()]
