"""From a reference to a model; and files that are no model, which are refused in one line and never run."""

import os
import pickle
import shutil
import zipfile

import pytest
import torch
import yaml

from ddpm.config import load_config
from ddpm.errors import ModelError
from ddpm.files import RunFolder, file_sha256
from ddpm.jobs import Status, write_status
from ddpm.models import load_model
from ddpm.sampling import generate
from ddpm.storage import places
from ddpm.storage.layouts import CONFIG, WEIGHTS
from ddpm.storage.places import PRETRAINED, Place, reference_of, resolve, shipped_models
from ddpm.storage.weights import load_weights, read_safetensors


def fault_of(reference) -> str:
    """The message of the ModelError that loading gives; it is a single line."""
    with pytest.raises(ModelError) as caught:
        load_model(str(reference))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- the resolver --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["tiny", "run:tiny", "FOLDER", "FOLDER/ckpts/ema.pt", "FOLDER/ckpts/best.pt"])
def test_a_run_is_found_by_name_and_by_path(tiny_run, reference):
    model = load_model(reference.replace("FOLDER", str(tiny_run)))
    assert model.config.name == "tiny"
    kind = "best" if "best" in reference else "ema"
    weights = torch.load(tiny_run / f"ckpts/{kind}.pt", weights_only=True)["ema"]
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())


def test_a_run_that_has_saved_nothing_yet_says_when_it_will(tiny_run):
    (tiny_run / "ckpts" / "ema.pt").unlink()
    folder, every = RunFolder(tiny_run), load_config(tiny_run / CONFIG).training.val_every
    write_status(folder, Status(state="stopped", step=280, total_steps=3_124))
    why = f"run tiny has no checkpoint yet: it is stopped at step 280 of 3,124, the first comes at step {every:,}"
    assert fault_of("run:tiny") == fault_of("tiny") == why
    assert "did you mean 'run:tiny'" in fault_of("run:tinny")


@pytest.mark.slow
def test_a_model_says_where_it_came_from(tiny_run):
    assert load_model("run:tiny").source == "run 'tiny'"
    assert load_model("mnist").source == "shipped model 'mnist'"
    best = tiny_run / "ckpts" / "best.pt"
    assert load_model(str(best)).source == str(best)


def test_a_shipped_name_wins_over_a_run_of_that_name_and_run_means_the_run(tiny_run):
    run = tiny_run.rename(tiny_run.with_name("mnist"))
    assert resolve("mnist").weights == PRETRAINED / "mnist" / WEIGHTS
    assert resolve("run:mnist").weights == run / "ckpts" / "ema.pt"


def test_a_config_means_its_run_and_else_the_shipped_model(tiny_run, tiny_config):
    assert reference_of(tiny_config()) == "run:tiny"
    assert reference_of(tiny_config(name="mnist")) == "mnist"


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_loads_and_is_named_after_its_folder(name):
    model = load_model(name)
    assert model.config.name == name
    assert (PRETRAINED / name / CONFIG).is_file()
    assert not model.network.training


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mnits", "unknown model 'mnits': did you mean 'mnist'? valid are "),
        ("run:tiy", "unknown model 'run:tiy': did you mean 'run:tiny'? valid are "),
        ("run:../tiny", "unknown model 'run:../tiny'"),
        ("", "unknown model ''"),
        ("nowhere/run", "no model at nowhere/run: expected a run folder, a .pt checkpoint, a model.safetensors, or a"),
        ("nowhere.pt", "no model at nowhere.pt: expected a run folder"),
    ],
)
def test_an_unknown_reference_is_named_with_the_nearest(tiny_run, reference, message):
    assert fault_of(reference).startswith(message)


@pytest.mark.slow
def test_an_exported_model_is_the_same_model(tiny_run, tmp_path):
    file = load_model("run:tiny").save(tmp_path / "export")
    again, original = load_model(str(file)), load_model("run:tiny")
    assert again.config == original.config
    assert torch.equal(generate(again, 2, seed=1), generate(original, 2, seed=1))
    assert load_model(str(tmp_path / "export")).config == original.config
    assert len(file_sha256(file)) == 64


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["checkpoint", "safetensors"])
def test_a_model_is_known_by_the_bytes_that_were_loaded(tiny_run, tmp_path, monkeypatch, kind):
    """A run that saves while its model is loaded: the file's hash and the weights in memory are of the same bytes."""
    file = tiny_run / "ckpts" / "ema.pt" if kind == "checkpoint" else load_model("run:tiny").save(tmp_path / "export")
    other, read = tmp_path / "other", Place._read
    content = torch.load(tiny_run / "ckpts" / "ema.pt", weights_only=True)
    content["ema"] = {name: value + 1 for name, value in content["ema"].items()}
    torch.save(content, other)
    if kind == "safetensors":
        torch.save(content, tiny_run / "ckpts" / "ema.pt")
        other = load_model("run:tiny").save(tmp_path / "again")
    saved = file_sha256(other)

    def saves_meanwhile(place):
        found = read(place)
        if other.exists():
            other.rename(place.weights)
        return found

    monkeypatch.setattr(Place, "_read", saves_meanwhile)
    model = load_model(str(file))
    assert model.sha256 == file_sha256(file) == saved
    assert torch.equal(next(iter(model.network.parameters())), next(iter(read(resolve(str(file)))[1].parameters())))


@pytest.mark.slow
def test_a_file_that_changes_all_the_time_is_refused(tiny_run, monkeypatch):
    hashes = iter(range(99))
    monkeypatch.setattr(places, "file_sha256", lambda path: str(next(hashes)))
    with pytest.raises(ModelError, match="changes again and again while it is read"):
        load_model("run:tiny")


def test_a_loaded_model_keeps_no_gradients_and_evaluates(tiny_run):
    network = load_model("run:tiny").network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


# -- bad checkpoints -----------------------------------------------------------------------------------------------


@pytest.fixture
def content(tiny_run) -> dict:
    return torch.load(tiny_run / "ckpts" / "ema.pt", weights_only=True)


class Payload:
    """Unpickling this creates the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("container", ["pickle", "torch", "inside a checkpoint"])
def test_a_pickle_posing_as_a_checkpoint_is_never_run(tmp_path, content, container, protocol):
    bad, proof = tmp_path / "bad.pt", tmp_path / "proof"
    if container == "pickle":
        bad.write_bytes(pickle.dumps(Payload(proof), protocol=protocol))
    else:
        payload = content | {"extra": Payload(proof)} if container == "inside a checkpoint" else Payload(proof)
        torch.save(payload, bad, pickle_protocol=protocol)
    assert fault_of(bad) == f"checkpoint {bad} is damaged, or holds Python objects, which are never loaded"
    assert not proof.exists()
    torch.load(bad, weights_only=False) if container != "pickle" else pickle.loads(bad.read_bytes())
    assert proof.exists()  # the payload was a live one


def foreign_files(folder):
    with zipfile.ZipFile(folder / "zip.pt", "w") as archive:
        archive.writestr("hello.txt", "no checkpoint")
    torch.save({"model": {}}, folder / "dict.pt")
    torch.save([1, 2, 3], folder / "list.pt")
    torch.save(torch.zeros(3), folder / "tensor.pt")
    torch.save({"format": "ddpm-lab/1"}, folder / "empty.pt")
    (folder / "text.pt").write_text("no checkpoint")
    (folder / "nothing.pt").write_bytes(b"")
    (folder / "zeros.pt").write_bytes(bytes(4096))
    (folder / "pickle.pt").write_bytes(pickle.dumps({"format": "ddpm-lab/1"}))
    (folder / "yaml.pt").write_text("name: x")
    return ["zip", "dict", "list", "tensor", "empty", "text", "nothing", "zeros", "pickle", "yaml"]


def test_a_foreign_file_is_refused(tmp_path):
    for name in foreign_files(tmp_path):
        assert fault_of(tmp_path / f"{name}.pt").startswith(f"checkpoint {tmp_path / name}.pt ")


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(tiny_run, share):
    file = tiny_run / "ckpts" / "ema.pt"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert fault_of("run:tiny").startswith(f"checkpoint {file} is damaged")


def rewritten(file, change) -> None:
    """Pack a checkpoint anew, each entry changed by ``change``: (info, content) -> the entries in its place."""
    with zipfile.ZipFile(file) as source:
        entries = [(info, source.read(info)) for info in source.infolist()]
    with zipfile.ZipFile(file, "w") as packed:
        for info, content in entries:
            for name, attributes, compression, data in change(info, content):
                changed = zipfile.ZipInfo(name)
                changed.external_attr, changed.compress_type = attributes, compression
                packed.writestr(changed, data)


def test_an_entry_that_calls_itself_a_folder_is_still_read(tiny_run):
    """Torch takes it for one without content, and gives what happens to lie in the memory there."""
    sound = load_model("run:tiny").network.state_dict()
    rewritten(tiny_run / "ckpts" / "ema.pt", lambda info, data: [(info.filename, 0x10, zipfile.ZIP_STORED, data)])
    loaded = load_model("run:tiny").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in sound.items())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "change",
    [
        lambda info, data: [(info.filename, 0, zipfile.ZIP_STORED, data)] * 2,
        lambda info, data: [(info.filename, 0, zipfile.ZIP_DEFLATED, data)],
    ],
    ids=["twice", "compressed"],
)
def test_an_archive_that_torch_would_not_write_is_refused(tiny_run, change):
    file = tiny_run / "ckpts" / "ema.pt"
    rewritten(file, change)
    assert fault_of("run:tiny") == f"checkpoint {file} is damaged, truncated or not a checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("ema"), "holds no 'ema'; it has format, config, step"),
        (lambda c: c.update(format="other"), "was not written by ddpm (no format 'ddpm-lab/1' in it)"),
        (lambda c: c.update(ema=[1]), "holds no weights"),
        (lambda c: c.update(ema={"a": 1}), "holds no weights"),
        (lambda c: c["ema"].pop("conv_in.bias"), "does not fit its config: conv_in.bias is missing"),
        (lambda c: c["ema"].update(x=torch.zeros(1)), "does not fit its config: x is not in the network"),
        (lambda c: c["ema"].update({3: torch.zeros(1)}), "does not fit its config: 3 is not in the network"),
        (
            lambda c: c["ema"].update({"conv_in.bias": torch.zeros(9)}),
            "does not fit its config: conv_in.bias is (9,), not (8,)",
        ),
        (
            lambda c: c["ema"]["conv_in.bias"].fill_(torch.nan),
            "is damaged: conv_in.bias holds values that are not finite",
        ),
        (
            lambda c: c["ema"]["conv_in.bias"].fill_(-torch.inf),
            "is damaged: conv_in.bias holds values that are not finite",
        ),
        (lambda c: c["config"]["model"].update(base_channels=16), "does not fit its config: "),
        (lambda c: c["config"]["model"].update(base_chanels=8), "model.base_chanels: unknown key 'base_chanels'"),
        (
            lambda c: c["config"]["model"].update(base_channels=-8, num_classes=-1),
            "model.base_channels: must be",
        ),
        (lambda c: c.update(config=3), "expected sections such as 'data:' and 'model:', got int"),
        (lambda c: c.update(config=None), "expected sections such as 'data:' and 'model:', got NoneType"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_says_where(tiny_run, content, change, message):
    change(content)
    torch.save(content, tiny_run / "ckpts" / "ema.pt")
    fault = fault_of("run:tiny")
    assert str(tiny_run) in fault
    assert message in fault


def test_weights_are_loaded_whole_or_not_at_all(tiny_run):
    network = load_model("run:tiny").network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    bad = {name: torch.ones_like(value) for name, value in before.items()}
    bad["conv_out.bias"] = torch.full_like(bad["conv_out.bias"], torch.nan)
    with pytest.raises(ModelError):
        load_weights(network, bad, "bad")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# -- bad safetensors -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 4, 8, 100, 5000, -1])
def test_truncated_safetensors_are_refused(tiny_run, tmp_path, size):
    file = load_model("run:tiny").save(tmp_path / "export")
    file.write_bytes(file.read_bytes()[:size])
    assert fault_of(file).startswith(f"{file} is damaged or no safetensors file: ")


@pytest.mark.slow
def test_a_pickle_named_safetensors_is_never_run(tiny_run, tmp_path):
    file = load_model("run:tiny").save(tmp_path / "export")
    file.write_bytes(pickle.dumps(Payload(tmp_path / "proof")))
    assert fault_of(file).startswith(f"{file} is damaged or no safetensors file: ")
    assert not (tmp_path / "proof").exists()


def test_safetensors_need_the_config_beside_them_and_must_fit_it(tiny_run, tmp_path):
    file = load_model("run:tiny").save(tmp_path / "export")
    values = yaml.safe_load(file.with_name(CONFIG).read_text())
    values["model"]["base_channels"] = 16
    file.with_name(CONFIG).write_text(yaml.safe_dump(values))
    assert "does not fit its config: " in fault_of(file)
    file.with_name(CONFIG).unlink()
    assert fault_of(file) == f"{file} has no config.yaml beside it"


@pytest.mark.slow
def test_safetensors_with_nan_are_refused(tiny_run, tmp_path):
    from safetensors.torch import save_file

    file = load_model("run:tiny").save(tmp_path / "export")
    weights = read_safetensors(file, load_model("run:tiny").network)
    weights["conv_in.bias"] = torch.full_like(weights["conv_in.bias"], torch.nan)
    save_file(weights, file)
    assert fault_of(file) == f"{file} is damaged: conv_in.bias holds values that are not finite"


def test_weights_may_have_any_name_beside_a_config_and_need_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PRETRAINED / "digits" / WEIGHTS, "mine.safetensors")
    assert fault_of("mine.safetensors").endswith("has no config.yaml beside it")
    shutil.copyfile(PRETRAINED / "digits" / CONFIG, CONFIG)
    assert load_model("mine.safetensors").config.name == "digits"
