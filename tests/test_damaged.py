"""Files of weights with a few bytes changed: the same weights or a refusal, never others, never a crash."""

import os
import random
import resource

import pytest
import torch

from ddpm.errors import DDPMError
from ddpm.models import export_model, load_model

MUTATIONS = 5000 if os.environ.get("DDPM_SOAK") else 300
GROWTH = 200_000  # kB of memory; what a length that is not true could ask for is a thousand times as much


def flip(content: bytearray, where: int, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        content[(where + chance.randint(0, 40)) % len(content)] ^= chance.randint(1, 255)


def overwrite(content: bytearray, where: int, chance: random.Random) -> None:
    block = chance.choice([bytes(8), b"\xff" * 8, content[:100], bytes(chance.randbytes(30))])
    content[where : where + len(block)] = block


def insert(content: bytearray, where: int, chance: random.Random) -> None:
    content[where:where] = chance.randbytes(chance.randint(1, 64))


def remove(content: bytearray, where: int, chance: random.Random) -> None:
    del content[where : where + chance.randint(1, 64)]


def truncate(content: bytearray, where: int, chance: random.Random) -> None:
    del content[where:]


def exchange(content: bytearray, where: int, chance: random.Random) -> None:
    other, size = chance.randrange(len(content)), chance.randint(4, 64)
    content[where : where + size], content[other : other + size] = (
        content[other : other + size],
        content[where : where + size],
    )


KINDS = (flip, flip, flip, overwrite, insert, remove, truncate, exchange)


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """Half of them where the structure is, at both ends, and half anywhere."""
    end = min(4000, len(whole))
    place = chance.choice([chance.randrange(end), len(whole) - 1 - chance.randrange(end)])
    content = bytearray(whole)
    chance.choice(KINDS)(content, chance.choice([place, chance.randrange(len(whole))]), chance)
    return bytes(content)


@pytest.fixture(params=["checkpoint", "safetensors"])
def file(request, tiny_run, tmp_path):
    return (
        tiny_run / "ckpts" / "ema.pt" if request.param == "checkpoint" else export_model("run:tiny", tmp_path / "out")
    )


def test_altered_weights_are_never_taken_for_sound_ones(file):
    whole, sound, refused = file.read_bytes(), load_model(str(file)), 0
    weights, chance = sound.network.state_dict(), random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(MUTATIONS):
        file.write_bytes(mutated(whole, chance))
        try:
            loaded = load_model(str(file))
        except DDPMError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            values = loaded.network.state_dict()
            assert all(torch.equal(values[name], value) for name, value in weights.items()), number
            assert loaded.config == sound.config, number
    assert refused > 0.8 * MUTATIONS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
