"""Datasets: the right images, the right labels, disjoint splits, exact scaling, and faults that are named."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm.config import DataConfig
from ddpm.data import ImageSet, epoch_order, load_dataset, photographs, resize, to_float
from ddpm.errors import DataError

DIGITS = DataConfig(dataset="digits", image_size=8, val_fraction=0.1)
SPLITS = ("train", "val", "test")


def fingerprints(images: ImageSet) -> Counter:
    """Every image with its label, as a multiset."""
    pairs = zip(images.images, images.labels.tolist(), strict=True)
    return Counter((image.numpy().tobytes(), label) for image, label in pairs)


def test_scaling_is_exact_at_both_ends_and_in_the_middle():
    assert to_float(torch.tensor([0, 255, 51], dtype=torch.uint8)).tolist() == [-1.0, 1.0, pytest.approx(-0.6)]


def test_scaling_there_and_back_is_exact_for_every_level():
    from ddpm.media.images import to_uint8

    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)


# -- digits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return {split: load_dataset(DIGITS, split) for split in SPLITS}


def test_the_splits_of_digits_are_exactly_scikit_learns_digits(digits):
    from sklearn.datasets import load_digits

    truth = load_digits()
    levels = np.round(truth.images * 255 / 16).astype(np.uint8)
    expected = Counter((image.tobytes(), int(label)) for image, label in zip(levels, truth.target, strict=True))
    assert [len(digits[split]) for split in SPLITS] == [1350, 150, 297]
    assert fingerprints(digits["train"]) + fingerprints(digits["val"]) + fingerprints(digits["test"]) == expected
    assert expected.total() == 1797


def test_digits_use_the_whole_range_and_every_class_in_every_split(digits):
    for split in SPLITS:
        assert (digits[split].scaled().min(), digits[split].scaled().max()) == (-1, 1)
        assert digits[split].labels.unique().tolist() == list(range(10))


def test_splits_are_the_same_each_time(digits):
    for split in SPLITS:
        again = load_dataset(DIGITS, split)
        assert torch.equal(again.images, digits[split].images)
        assert torch.equal(again.labels, digits[split].labels)


def test_val_fraction_is_a_share_of_the_training_images():
    half = DIGITS.model_copy(update={"val_fraction": 0.25})
    assert (len(load_dataset(half, "train")), len(load_dataset(half, "val"))) == (1125, 375)
    assert len(load_dataset(half, "test")) == 297


def test_an_image_set_is_cut_like_a_tensor(digits):
    part = digits["train"][torch.tensor([5, 3])]
    assert torch.equal(part.images, digits["train"].images[[5, 3]])
    assert torch.equal(part.labels, digits["train"].labels[[5, 3]])


def test_an_unknown_split_is_named():
    with pytest.raises(DataError, match="unknown split 'valid': valid are train, val, test"):
        load_dataset(DIGITS, "valid")


# -- resizing ------------------------------------------------------------------------------------------------------


def test_resizing_equals_torchvisions():
    from ddpm import torchvision_cpu  # noqa: F401, I001  before torchvision
    from torchvision.transforms.v2.functional import resize as reference

    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for size in (32, 16, 28):
        difference = resize(images, size).int() - reference(images, [size, size], antialias=True).int()
        assert difference.abs().max() <= 1


# -- MNIST ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(mnist_dir):
    raw = DataConfig(dataset="mnist", image_size=28)
    return {split: load_dataset(raw, split, download=False) for split in SPLITS}


@pytest.mark.slow
def test_mnist_is_complete_and_validation_is_held_out_of_training(mnist, mnist_dir):
    pixels = np.fromfile(mnist_dir / "MNIST/raw/train-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28 * 28)
    labels = np.fromfile(mnist_dir / "MNIST/raw/train-labels-idx1-ubyte", np.uint8, offset=8)
    expected = Counter((image.tobytes(), int(label)) for image, label in zip(pixels, labels, strict=True))
    assert [len(mnist[split]) for split in SPLITS] == [57_000, 3_000, 10_000]
    assert fingerprints(mnist["train"]) + fingerprints(mnist["val"]) == expected


def test_mnists_labels_are_right(mnist):
    assert torch.bincount(mnist["test"].labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist["test"].labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


def test_mnist_is_resized_to_32_bright_on_dark(mnist_dir, mnist):
    resized = load_dataset(DataConfig(dataset="mnist", image_size=32), "test", download=False)
    assert resized.images.shape == (10_000, 1, 32, 32)
    assert resized.images.dtype == torch.uint8
    torch.testing.assert_close(
        resized.images.float().mean((1, 2, 3)), mnist["test"].images.float().mean((1, 2, 3)), rtol=0.05, atol=1.0
    )
    assert resized.scaled()[:, :, 0, 0].max() < 0  # a corner is background


def test_the_photographs_inside_scikit_learn():
    images = photographs(48)
    assert images.images.shape == (2, 3, 48, 48)
    assert images.images.float().std() > 40


def test_class_names_come_with_the_images_and_stay_with_a_part_of_them(digits):
    assert digits["val"].class_names == digits["val"][:2].class_names == tuple("0123456789")


# -- missing datasets ----------------------------------------------------------------------------------------------


@pytest.fixture
def unreachable(monkeypatch, tmp_path) -> Path:
    """Downloads go to a port where nobody answers, into an empty data folder."""
    from ddpm.torchvision_cpu import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    monkeypatch.setenv("DDPM_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10"])
def test_a_missing_dataset_is_named_with_the_remedy_and_nothing_is_half_written(dataset, download, unreachable):
    config = DataConfig(dataset=dataset, channels=3 if dataset == "cifar10" else 1)
    with pytest.raises(DataError) as caught:
        load_dataset(config, "train", download=download)
    message = str(caught.value)
    assert message.startswith(f"dataset {dataset} is not in {unreachable}")
    assert "set DDPM_DATA_DIR" in message
    assert "\n" not in message
    assert [path for path in unreachable.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x00\x08\x03\x00\x00", b"\x00\x00\x08\x03\x00\x00\xea\x60" + b"\x00\x00\x00\x1c" * 2]
)
def test_a_truncated_dataset_is_named(content, unreachable):
    raw = unreachable / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte",
        "t10k-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (raw / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(), "train", download=False)
    damaged = raw / "train-images-idx3-ubyte"
    remedy = "delete it, and it is downloaded again"
    assert str(caught.value) == f"dataset mnist is damaged: {damaged} is incomplete; {remedy}"


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_file_is_named_and_not_called_missing(split, unreachable, mnist_dir):
    raw = unreachable / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (mnist_dir / "MNIST/raw").glob("*ubyte"):
        (raw / path.name).symlink_to(path)
    damaged = raw / f"{'train' if split == 'train' else 't10k'}-labels-idx1-ubyte"
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"{damaged.name} is incomplete; delete it, and it is downloaded again"):
        load_dataset(DataConfig(), split)
    assert len(load_dataset(DataConfig(), "test" if split == "train" else "train")) > 9_000  # whose files are whole


def test_a_damaged_cifar10_is_named(unreachable):
    folder = unreachable / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_2").write_bytes(b"half of it")
    with pytest.raises(DataError, match=r"dataset cifar10 is damaged: .*data_batch_2 is incomplete; delete it"):
        load_dataset(DataConfig(dataset="cifar10", channels=3), "train")


def test_a_data_folder_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDPM_DATA_DIR", os.fspath(tmp_path / "file" / "data"))
    with pytest.raises(DataError, match="dataset mnist is not in"):
        load_dataset(DataConfig(), "train")


# -- order ---------------------------------------------------------------------------------------------------------


def test_the_order_of_an_epoch_is_a_permutation_of_seed_and_epoch_alone():
    order = epoch_order(1000, 3, 5)
    assert order.sort().values.tolist() == list(range(1000))
    torch.manual_seed(0)
    assert torch.equal(epoch_order(1000, 3, 5), order)
    for other in ((3, 6), (4, 5), (5, 3), (3 + 2**32, 5)):
        assert not torch.equal(epoch_order(1000, *other), order)
