"""Files of weights with a few bytes changed: the same weights or a refusal, never others, never a crash."""

import io
import os
import pickle
import random
import resource
import zipfile
from collections import OrderedDict

import pytest
import torch

from ddpm.errors import DDPMError
from ddpm.models import load_model
from ddpm.storage.checkpoints import CHECKPOINT_FORMAT, check_pickle
from tests.conftest import TINY

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
    if request.param == "checkpoint":
        return tiny_run / "ckpts" / "ema.pt"
    return load_model("run:tiny").save(tmp_path / "out")


@pytest.mark.slow
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


# -- small checkpoints that ask for much -----------------------------------------------------------------------------


class Call:
    """Pickled, it is a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stored:
    """Pickled, it is the storage ``data/0`` of an archive, said to hold so many numbers."""

    def __init__(self, numbers: int):
        self.said = "storage", torch.FloatStorage, "0", "cpu", numbers


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.said if isinstance(value, Stored) else None


def tensor(numbers: int, size: int, stride: int) -> Call:
    rebuild = torch._utils._rebuild_tensor_v2
    return Call(rebuild, Stored(numbers), 0, (size,), (stride,), False, OrderedDict())


def doubled(times: int) -> list:
    value = ["x"]
    for _ in range(times):
        value = [value, value]
    return value


GREEDY = {
    "a bytearray": Call(bytearray, 3_000_000_000),
    "a set of a range": Call(set, Call(bytearray, 3_000_000_000)),
    "a storage that is not there": tensor(750_000_000, 4, 1),
    "a tensor beyond its storage": tensor(4, 750_000_000, 1),
    "a tensor of one number": tensor(4, 750_000_000, 0),
    "lists of lists": doubled(60),
    "a function": Call(print, "never"),
}


@pytest.mark.parametrize("place", ["config", "name", "ema"])
@pytest.mark.parametrize("name", GREEDY)
def test_a_checkpoint_gets_no_more_memory_than_it_has(name, place, tmp_path, capsys):
    config = {**TINY, "name": GREEDY[name]} if place == "name" else TINY
    content = {"format": CHECKPOINT_FORMAT, "config": config, "ema": {}}
    content |= {} if place == "name" else {place: GREEDY[name]}
    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(content)
    with zipfile.ZipFile(tmp_path / "greedy.pt", "w") as archive:
        for entry, held in {"data.pkl": pickled.getvalue(), "data/0": bytes(16), "byteorder": b"little"}.items():
            archive.writestr(f"archive/{entry}", held)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DDPMError, match=r"greedy\.pt is damaged"):
        load_model(str(tmp_path / "greedy.pt"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
    assert capsys.readouterr().out == ""


def test_a_pickle_names_tensors_alone(tiny_run):
    for path in (tiny_run / "ckpts").glob("*.pt"):
        with zipfile.ZipFile(path) as archive:
            check_pickle(archive.read("archive/data.pkl"))
    for named in (b"cbuiltins\nbytearray\n.", b"\x8c\x05torch\x8c\x06Tensor\x93.", b"ctorch\nTensor\n.", b"\x82\x01."):
        with pytest.raises(pickle.UnpicklingError):
            check_pickle(named)
