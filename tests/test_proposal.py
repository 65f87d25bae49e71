"""A config for images that were taken in: it fits, says why, and has nothing that its own preflight would warn of."""

from dataclasses import replace

import pytest

from ddpm.config import Config, load_config
from ddpm.image_folder.reading import Sizes
from ddpm.image_folder.taking import Taken
from ddpm.training.preflight import Facts, preflight
from ddpm.training.proposal import LOOKS, propose
from tests.conftest import ROOT

PETS = Taken("pets", 60, {"cat": 30, "dog": 30}, (), 480, 1.0)
PRESET = load_config(ROOT / "configs" / "folder.yaml")


def proposed(seen: Taken, **how) -> tuple[Config, dict[str, str], Facts]:
    def sizes(share: float) -> Sizes:
        rest = seen.images - (test := round(0.1 * seen.images))
        return Sizes(rest - (val := max(1, round(share * rest))), val, test)

    config, reasons = propose(seen, PRESET, sizes, **how)
    reasons = {reason.what: reason.why for reason in reasons}
    return config, reasons, Facts(sizes(config.data.val_fraction), len(seen.classes), seen.coloured > 0.05)


@pytest.mark.parametrize("count", [40, 60, 150, 1_000, 10_000, 60_000])
def test_whatever_their_number_the_preflight_has_nothing_to_add(count):
    config, reasons, known = proposed(replace(PETS, images=count))
    assert [finding for finding in preflight(config, known) if finding.kind != "note"] == []
    training = config.training
    steps = training.epochs * (known.sizes.train // training.batch_size)
    looks = steps * training.batch_size
    expected = LOOKS * max(1, known.sizes.train / 1_000) ** 0.5
    assert 0.9 * expected < looks < 1.1 * expected or training.epochs == 10
    seen = known.sizes.train // training.batch_size * training.batch_size
    said = f"{seen:,} in each epoch: {steps:,} steps of {training.batch_size}"
    assert said in reasons[f"{training.epochs:,} epochs"]
    assert known.sizes.train % training.batch_size < 0.1 * known.sizes.train  # what an epoch leaves out
    assert 10 <= steps // training.val_every <= 11


def test_few_photographs_in_two_folders():
    config, reasons, _ = proposed(PETS)
    assert (config.data.image_size, config.data.channels, config.model.num_classes) == (32, 3, 2)
    assert config.data.horizontal_flip
    assert config.model.dropout == 0.1
    assert config.data.path.endswith("/images/pets")
    assert "480 on the shorter side" in reasons["32 x 32 pixels"]
    assert config.name == "pets"


def test_what_was_seen_decides():
    assert proposed(PETS, fast=True)[0].data.image_size == 64
    assert proposed(replace(PETS, side=40), fast=True)[0].data.image_size == 32
    letters, reasons, _ = proposed(replace(PETS, classes={}, side=28, coloured=0.0, images=5_000))
    assert (letters.data.channels, letters.model.num_classes, letters.data.horizontal_flip) == (1, 0, False)
    assert reasons["Not mirrored"].startswith("small or grey images may be letters or digits")
    assert letters.training.epochs < 100 < proposed(PETS)[0].training.epochs
    assert proposed(replace(PETS, images=20_000))[0].model.dropout == 0
