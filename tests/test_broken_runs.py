"""A run whose files were damaged, deleted or written by another version: every page still opens, what is wrong is said,
and nothing is touched."""

import json
import os
import shutil
import time

import pytest

PAGES = {
    "pages/train.py": {},
    "pages/curves.py": {"curves_runs": "tiny"},
    "pages/playground.py": {"play_model": "run:tiny"},
    "pages/evaluate.py": {"eval_model": "run:tiny"},
    "pages/share.py": {"share_model": "run:tiny"},
}


def edit_config(run, old: str, new: str) -> None:
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8")
    assert old in text
    config.write_text(text.replace(old, new), encoding="utf-8")


def set_clock_back(run) -> None:
    """As if all had been written a day from now."""
    for file in run.rglob("*"):
        os.utime(file, (time.time() + 86400,) * 2)


def truncate(file) -> None:
    with open(file, "r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def replace_by_folder(file) -> None:
    file.unlink()
    file.mkdir()


def picture_cut_short(run) -> None:
    (run / "grids").mkdir()
    (run / "grids" / "step_00000005.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")


# What happened to a run, and words of what is said about it on one of the pages; "" where nothing is wrong with it.
FAULTS = {
    "config of a future version": (lambda run: edit_config(run, "training:", "training:\n  warp: 9"), "training.warp"),
    "config empty": (lambda run: (run / "config.yaml").write_text(""), ""),  # the checkpoint has it too
    "config no text": (lambda run: (run / "config.yaml").write_bytes(b"\xff\xfe\x00" * 9), ""),
    "config missing": (lambda run: (run / "config.yaml").unlink(), "run:tiny"),
    "config of another network": (lambda run: edit_config(run, "base_channels: ", "base_channels: 3"), "tiny"),
    "status cut short": (lambda run: truncate(run / "status.json"), "status.json"),
    "status a folder": (lambda run: replace_by_folder(run / "status.json"), "status.json"),
    "status missing": (lambda run: (run / "status.json").unlink(), "stopped"),
    "curves cut short": (lambda run: truncate(run / "logs" / "training_metrics.jsonl"), ""),
    "curves of another kind": (
        lambda run: (run / "logs" / "training_metrics.jsonl").write_text('{"step": "one"}\n' * 3),
        "training_metrics.jsonl, line 1",
    ),
    "logs missing": (lambda run: shutil.rmtree(run / "logs"), ""),
    "weights missing": (lambda run: (run / "ckpts" / "ema.pt").unlink(), "There is no model yet"),
    "weights cut short": (lambda run: truncate(run / "ckpts" / "ema.pt"), "ema.pt"),
    "weights a folder": (lambda run: replace_by_folder(run / "ckpts" / "ema.pt"), "ema.pt"),
    "checkpoint cut short": (lambda run: truncate(run / "ckpts" / "latest.pt"), ""),
    "evaluation cut short": (
        lambda run: (run / "logs" / "evaluation_results.json").write_text('{"calibration": {'),
        "evaluation_results.json",
    ),
    "evaluation of another kind": (
        lambda run: (run / "logs" / "evaluation_results.json").write_text(json.dumps({"made_by": 3, "ddim": [1]})),
        "evaluation_results.json",
    ),
    "a picture cut short": (picture_cut_short, ""),
    "clock set back": (set_clock_back, ""),
    "the outputs folder deleted": (lambda run: shutil.rmtree(run.parent), "There is no model yet"),
    "the outputs folder a file": (
        lambda run: (shutil.rmtree(run.parent), run.parent.write_text("")), "There is no model yet"
    ),
}  # fmt: skip


def words(app) -> str:
    """All that a page says in lines of text and boxes."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error)
    return "\n".join(element.value for kind in kinds for element in kind)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_pages_say_what_is_wrong_with_a_run_and_touch_nothing(fault, open_page, tiny_run, monkeypatch, tmp_path):
    monkeypatch.setattr("ddpm.storage.places.PRETRAINED", tmp_path / "none")
    damage, expected = FAULTS[fault]
    damage(tiny_run)
    files = [file for file in tiny_run.parent.rglob("*") if file.is_file()]
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    said = "\n".join(words(open_page(path, **query)) for path, query in PAGES.items())
    assert expected in said
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files} == before
