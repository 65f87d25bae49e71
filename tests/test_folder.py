"""A folder of images: which files, which classes, which for what; read once, and told by its content."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.config import DataConfig, config_from_dict
from ddpm.data import load_dataset, open_folder, same_format
from ddpm.errors import ConfigError, DataError
from ddpm.image_folder import reading
from ddpm.image_folder.manifest import Entry, Manifest, changes, list_folder, natural, sides
from ddpm.image_folder.reading import count_folder, find_manifest, read_folder

SPLITS = ("train", "val", "test")


def paint(path: Path, colour, size=(12, 12), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def folder_config(path: Path, **changes) -> DataConfig:
    return DataConfig(dataset="folder", path=str(path), **{"image_size": 8, "val_fraction": 0.2, **changes})


@pytest.fixture
def colours(tmp_path) -> Path:
    """Thirty reddish images in 'a', thirty bluish ones in 'b'."""
    for i in range(30):
        paint(tmp_path / "set/a" / f"{i:02}.png", (255 - i, 0, 0))
        paint(tmp_path / "set/b" / f"{i:02}.PNG", (0, 0, 255 - i))
    return tmp_path / "set"


# -- what is in it -------------------------------------------------------------------------------------------------


def test_subfolders_are_classes_with_their_names(colours):
    parts = [load_dataset(folder_config(colours, channels=3), split) for split in SPLITS]
    assert sum(map(len, parts)) == 60
    for part in parts:
        assert part.class_names == ("a", "b")
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            assert image.shape == (3, 8, 8)
            assert image[:, 0, 0].argmax() == (0, 2)[label]


def test_numbers_in_names_sort_by_their_value(tmp_path):
    for i in range(1, 13):
        for k in range(4):
            paint(tmp_path / "set" / str(i) / f"{k}.png", (20 * i, k, 0))
    assert find_manifest(list_folder(tmp_path / "set")).class_names == tuple(map(str, range(1, 13)))
    names = ["10 b", "Ab", "2 b", "aa", "img12", "img2", "a1b", "١٢"]
    assert sorted(names, key=natural)[:3] == ["2 b", "10 b", "a1b"]


def test_colour_becomes_grey_by_luma(colours):
    for part in (load_dataset(folder_config(colours), split) for split in SPLITS):
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            assert image.shape == (1, 8, 8)
            assert 0 <= (76, 29)[label] - image[0, 0, 0].item() <= 9


def test_a_flat_folder_has_no_labels_and_grey_becomes_colour(tmp_path):
    for i in range(60):
        paint(tmp_path / "flat" / f"{i:02}.png", 4 * i, mode="L")
    parts = [load_dataset(folder_config(tmp_path / "flat", channels=3), split) for split in SPLITS]
    assert {label for part in parts for label in part.labels.tolist()} == {-1}
    assert parts[0].class_names == ()
    assert sorted(int(image[0, 0, 0]) for part in parts for image in part.images) == [4 * i for i in range(60)]
    assert all(torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]) for image in parts[0].images)


def test_what_is_not_square_is_cropped_at_its_centre_and_never_squeezed(tmp_path):
    for i in range(20):
        wide = Image.new("L", (16, 8), i)
        wide.paste(255, (4, 0, 12, 8))  # the middle square is white
        (tmp_path / "wide").mkdir(exist_ok=True)
        wide.save(tmp_path / "wide" / f"{i}.png")
    assert (read_folder(folder_config(tmp_path / "wide")).images == 255).all()


def test_junk_is_no_class_and_is_counted(colours):
    paint(colours / ".ipynb_checkpoints/x-checkpoint.png", 1)
    paint(colours / "a/.ipynb_checkpoints/x-checkpoint.png", 1)
    paint(colours / "__MACOSX/a/x.png", 1)
    (colours / "a/._x.png").write_bytes(b"Mac OS X")
    (colours / "Thumbs.db").write_bytes(b"")
    (colours / "a/notes.txt").write_text("no image")
    (colours / "empty").mkdir()
    read = open_folder(folder_config(colours))
    assert len(read.images) == 60
    assert read.images.class_names == ("a", "b")
    assert [note for note in read.notes if "skipped" in note or "no class" in note] == [
        "skipped as system or hidden files: .ipynb_checkpoints, __MACOSX, Thumbs.db and 2 more",
        "skipped, not images by their names: a/notes.txt",
        "no class, since no image is in it: empty",
    ]


def test_loose_images_beside_classes_are_explained(colours):
    paint(colours / "loose.png", 1)
    with pytest.raises(DataError, match=r"has 1 image \(loose\.png\) beside the class folders a, b: move them into"):
        load_dataset(folder_config(colours), "train")


@pytest.mark.parametrize("where", ["deep/cats/1.png", "a/more/1.png"])
def test_images_that_lie_deeper_are_explained(colours, where):
    paint(colours / where, 1)
    with pytest.raises(DataError, match=f"{where} lies too deep; .* name .*{where.split('/')[0]} if its folders are"):
        load_dataset(folder_config(colours), "train")


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load_dataset(folder_config(tmp_path / "nowhere"), "train")
    with pytest.raises(DataError, match="holds too few images"):
        load_dataset(folder_config(tmp_path), "train")


def test_home_is_home_and_a_relative_path_is_from_here(colours, monkeypatch):
    monkeypatch.setenv("HOME", str(colours.parent))
    monkeypatch.chdir(colours)
    assert folder_config(Path("~/set")).folder == colours
    assert folder_config(Path("../set")).folder.resolve() == colours
    assert len(load_dataset(folder_config(Path("~/set")), "train")) > 30


# -- what is damaged or odd ----------------------------------------------------------------------------------------


def test_a_damaged_image_is_named_counted_and_skipped(colours):
    (colours / "a/03.png").write_bytes(b"no image")
    whole = (colours / "b/04.PNG").read_bytes()
    (colours / "b/04.PNG").write_bytes(whole[: len(whole) // 2])
    read = open_folder(folder_config(colours))
    assert len(read.images) == 58
    assert any(
        note.startswith("2 of 60 images cannot be read and were skipped: ") and "a/03.png cannot be read" in note
        for note in read.notes
    )
    assert open_folder(folder_config(colours)).notes == read.notes  # also from where it is kept


def test_beyond_a_share_of_damaged_images_the_folder_is_refused(colours):
    for i in range(4):
        (colours / f"a/{i:02}.png").write_bytes(b"no image %d" % i)
    with pytest.raises(DataError, match=r"of 60 images 4 or more cannot be read, and 5% is the most: a/0\d\.png "):
        load_dataset(folder_config(colours), "train")


def test_depth_is_scaled_by_the_range_of_the_whole_folder(tmp_path):
    """Twelve bits in files of sixteen: one is dark, and stays so."""
    (tmp_path / "deep").mkdir()
    for i in range(20):
        Image.fromarray(np.full((8, 8), i * 4095 // 19, np.uint16)).save(tmp_path / f"deep/{i}.png")
    read = read_folder(folder_config(tmp_path / "deep"))
    levels = sorted(int(image[0, 0, 0]) for image in read.images)
    assert levels == [round(i * 4095 // 19 / 4095 * 255) for i in range(20)]
    assert "of 20 images the pixels are integers of more than 8 bits, 0 to 4095 over all of them" in read.notes[0]


def test_floats_are_scaled_by_the_range_of_the_whole_folder(tmp_path):
    (tmp_path / "floats").mkdir()
    for i in range(5):
        Image.fromarray(np.full((8, 8), i / 4 - 2, np.float32)).save(tmp_path / f"floats/{i}.tiff")
    levels = read_folder(folder_config(tmp_path / "floats")).images.amax((1, 2, 3)).tolist()
    assert sorted(levels) == [0, 64, 128, 191, 255]


def test_twelve_bits_in_sixteen_of_colour_are_refused_by_name(tmp_path):
    from tests.test_image_files import png_of_sixteen_bit_colour

    (tmp_path / "deep").mkdir()
    for i in range(4):
        (tmp_path / f"deep/{i}.png").write_bytes(png_of_sixteen_bit_colour(1000 * i))
    with pytest.raises(DataError, match=r"the colours of \d\.png and 3 more have 16 bits, of which the highest two"):
        read_folder(folder_config(tmp_path / "deep", channels=3))


def test_constant_images_and_copies_are_mentioned(colours):
    shutil.copy(colours / "a/01.png", colours / "b/copy.png")
    assert read_folder(folder_config(colours)).notes == (
        "61 of 61 images are all of one level, with nothing to see in them",
        "1 of 61 images are copies of others, to the byte",
    )


def test_the_ground_of_transparent_images_is_the_configs(tmp_path):
    for i in range(4):
        paint(tmp_path / f"clear/{i}.png", (9, i, 9, 0), mode="RGBA")
    for background, level in (("white", 255), ("black", 0), ("#7f7f7f", 127)):
        read = read_folder(folder_config(tmp_path / "clear", background=background))
        assert read.images.unique().tolist() == [level]
    with pytest.raises(ConfigError, match=r"data\.background: must be white, black or a colour such as '#336699', got"):
        config_from_dict({"data": {"background": "clear"}})


# -- identity ------------------------------------------------------------------------------------------------------


def entries(count: int, start: int = 0) -> list[Entry]:
    import hashlib

    return [Entry(f"a/{i}.png", "a", hashlib.sha256(str(i).encode()).hexdigest()) for i in range(start, start + count)]


def test_a_tenth_is_for_the_test_and_of_the_rest_the_fraction_for_validation():
    found = sides(entries(20_000), 0.25)
    assert 0.09 < found.count("test") / 20_000 < 0.11
    assert 0.215 < found.count("val") / 20_000 < 0.235


@pytest.mark.parametrize("count", [20, 60, 500])
def test_an_image_that_is_added_or_removed_moves_no_other(count):
    many = entries(count)
    before = dict(zip(many, sides(many, 0.2), strict=True))
    for more in (many + entries(1, start=10_000), many + entries(count, start=10_000), many[: count // 2]):
        after = dict(zip(more, sides(more, 0.2), strict=True))
        assert {entry for entry in before.keys() & after.keys() if before[entry] != after[entry]} == set()


def test_what_is_for_the_test_does_not_depend_on_the_validation():
    many = entries(300)
    test = [side == "test" for side in sides(many, 0.05)]
    assert test == [side == "test" for side in sides(many, 0.4)]


def test_there_is_always_an_image_to_validate_with():
    for start in range(0, 3000, 3):
        found = sides(entries(8, start), 0.01)
        assert "val" in found


def test_copies_go_together(colours):
    for i in range(30):
        shutil.copy(colours / f"a/{i:02}.png", colours / f"a/copy{i:02}.png")
    read = open_folder(folder_config(colours))
    side_of = {}
    for entry, side in zip(read.manifest.entries, read.sides, strict=True):
        assert side_of.setdefault(entry.sha256, side) == side


def test_without_a_test_image_by_chance_it_is_said(tmp_path):
    found, i = 0, 0
    while found < 12:
        path = tmp_path / f"few/{i}.png"
        paint(path, i % 256, mode="L", size=(4 + i // 256, 4))
        (entry,) = (e for e in find_manifest(_Listed(path)).entries)
        found, i = found + 1, i + 1
        if sides([entry], 0.2) == ["test"]:
            path.unlink()
            found -= 1
    assert count_folder(folder_config(tmp_path / "few")).test == 0
    with pytest.raises(DataError, match="by chance none of its 12 images is for the test: add images"):
        load_dataset(folder_config(tmp_path / "few"), "test")


def _Listed(path: Path):
    from ddpm.image_folder.manifest import Listing

    return Listing(path.parent, ((path.name, ""),), ())


def test_counts_are_those_of_the_splits_and_need_no_pixels(colours, monkeypatch):
    config = folder_config(colours)
    monkeypatch.setattr(reading, "read_picture", None)
    counts = count_folder(config)
    monkeypatch.undo()
    assert counts == (*(len(load_dataset(config, split)) for split in SPLITS), True)
    monkeypatch.setattr(reading, "QUICK", 10)
    assert count_folder(config).exact  # known by now
    (colours / "a/00.png").touch()
    assert count_folder(config) == (43, 11, 6, False)


def test_the_same_content_elsewhere_under_other_names_is_the_same_dataset(colours, tmp_path):
    first = open_folder(folder_config(colours))
    (tmp_path / "moved").mkdir()
    for name in ("a", "b"):
        for i, path in enumerate(sorted((colours / name).iterdir(), reverse=True)):
            (tmp_path / "moved" / name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "moved" / name / f"image {i}.png")
    second = open_folder(folder_config(tmp_path / "moved"))
    assert second.manifest.digest == first.manifest.digest
    assert torch.equal(second.images.images, first.images.images)
    assert torch.equal(second.images.labels, first.images.labels)


def test_what_changed_is_said_in_a_phrase_each(colours):
    before = find_manifest(list_folder(colours))

    def now():
        return changes(before, find_manifest(list_folder(colours)))

    assert now() == []
    paint(colours / "a/new.png", (1, 2, 3))
    assert now() == ["1 image added"]
    (colours / "b/00.PNG").unlink()
    (colours / "b/01.PNG").unlink()
    assert now() == ["1 image added", "2 images removed"]
    (colours / "a/02.png").rename(colours / "b/02.png")
    assert now()[2:] == ["1 image moved from 'a' to 'b'"]
    (colours / "b/02.png").rename(colours / "a/02.png")
    (colours / "a").rename(colours / "kitten")
    assert now() == ["1 image added", "2 images removed", "class 'a' is now 'kitten'"]


def test_swapped_folders_are_told_as_moves(colours):
    before = find_manifest(list_folder(colours))
    (colours / "a").rename(colours / "c")
    (colours / "b").rename(colours / "a")
    (colours / "c").rename(colours / "b")
    now = find_manifest(list_folder(colours))
    assert now.digest != before.digest
    assert changes(before, now) == ["30 images moved from 'a' to 'b'", "30 images moved from 'b' to 'a'"]


def test_a_manifest_survives_its_file_and_a_damaged_one_is_named(colours, tmp_path):
    manifest = find_manifest(list_folder(colours))
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    assert Manifest.read(tmp_path / "manifest.json") == manifest
    (tmp_path / "manifest.json").write_text(manifest.to_json()[:-100])
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        Manifest.read(tmp_path / "manifest.json")


# -- classes of a model --------------------------------------------------------------------------------------------


def test_labels_follow_the_names_that_the_config_states(colours):
    read = open_folder(folder_config(colours, class_names=("b", "x", "a"), channels=3))
    assert read.images.class_names == ("b", "x", "a")
    assert read.images.labels.unique().tolist() == [0, 2]
    assert read.images.images[read.images.labels == 0][:, 2].min() > 200
    with pytest.raises(DataError, match=r"has classes that are not among data\.class_names: 'b'; these are 'a', 'x'"):
        open_folder(folder_config(colours, class_names=("a", "x")))


def test_folders_are_the_classes_of_the_model_that_they_are_called_as(tiny_config, tmp_path):
    for name in ("3", "7"):
        for i in range(20):
            paint(tmp_path / "set" / name / f"{i}.png", i * int(name), mode="L")
    data = same_format(tiny_config(), str(tmp_path / "set"))
    assert load_dataset(data, "train").labels.unique().tolist() == [3, 7]
    (tmp_path / "set/7").rename(tmp_path / "set/cat")
    with pytest.raises(DataError, match="has classes that the model does not know: 'cat'; its own are '0', '1', '2'"):
        same_format(tiny_config(), str(tmp_path / "set"))


def test_a_dataset_of_other_classes_does_not_fit_a_model_of_classes(tiny_config):
    with pytest.raises(ConfigError, match=r"fashion_mnist has the classes 'T-shirt/top', .* and the model '0', '1'"):
        same_format(tiny_config(), "fashion_mnist")
    assert same_format(tiny_config(model__num_classes=0), "fashion_mnist").image_size == 8
    assert same_format(tiny_config(), "mnist").dataset == "mnist"


# -- reading -------------------------------------------------------------------------------------------------------


def test_it_is_read_once_and_then_kept(colours, monkeypatch):
    first = read_folder(folder_config(colours))
    monkeypatch.setattr(reading, "read_picture", None)
    again = read_folder(folder_config(colours))
    assert torch.equal(again.images, first.images)
    assert (again.entries, again.notes) == (first.entries, first.notes)


def test_what_is_kept_is_only_of_the_same_content_and_way(colours):
    first = read_folder(folder_config(colours))
    assert read_folder(folder_config(colours, image_size=4)).images.shape[-1] == 4
    assert read_folder(folder_config(colours, channels=3)).images.shape[1] == 3
    paint(colours / "a/00.png", (0, 255, 0))
    assert not torch.equal(read_folder(folder_config(colours)).images, first.images)


def test_damaged_or_missing_keeps_are_made_anew(colours, output_dir):
    first = read_folder(folder_config(colours))
    for path in (output_dir / ".folders").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    assert torch.equal(read_folder(folder_config(colours)).images, first.images)
    shutil.rmtree(output_dir / ".folders")
    assert torch.equal(read_folder(folder_config(colours)).images, first.images)


def test_where_nothing_can_be_kept_it_is_said(colours, output_dir):
    output_dir.mkdir()
    (output_dir / ".folders").write_text("a file")
    assert read_folder(folder_config(colours)).notes[-1].startswith("not kept for the next time: ")


def test_what_is_kept_is_bounded(colours, output_dir, monkeypatch):
    monkeypatch.setattr(reading, "MAX_KEPT", 30_000)
    for size in (8, 9, 10, 11, 12, 13):
        read_folder(folder_config(colours, image_size=size))
        assert sum(path.stat().st_size for path in (output_dir / ".folders").iterdir()) <= 30_000


def test_it_tells_what_it_does_and_ends_when_told_to(colours, monkeypatch):
    told: list[str] = []
    read_folder(folder_config(colours), told.append)
    assert told[0].startswith("comparing ")
    assert told[-1] == "reading 60 of 60 images"

    def slow(*arguments, **how):
        time.sleep(0.5)
        raise AssertionError

    def stop(doing: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "read_picture", slow)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_folder(folder_config(colours, image_size=16), stop)
    assert time.monotonic() - started < 5  # of the 15 that it would take


def test_a_file_that_may_not_be_read_is_named(colours, monkeypatch):
    def forbidden(file, name):
        raise PermissionError(13, "Permission denied", file.name)

    monkeypatch.setattr(reading.hashlib, "file_digest", forbidden)
    with pytest.raises(DataError, match=r"a/\d\d\.png: Permission denied"):
        read_folder(folder_config(colours))


# -- earlier versions ----------------------------------------------------------------------------------------------


def test_earlier_models_keep_their_split_and_the_order_of_their_classes(tmp_path):
    """Every tenth file by name was the test; classes were in alphabetical order."""
    for name in ("1", "2", "10"):
        for i in range(10):
            paint(tmp_path / "set" / name / f"{i}.png", 10 * i + int(name), mode="L")
    read = open_folder(folder_config(tmp_path / "set"), earlier=True)
    assert read.images.class_names == ("1", "10", "2")
    assert sorted(read.split("test").images[:, 0, 0, 0].tolist()) == [91, 92, 100]
    assert (len(read.split("train")), len(read.split("val"))) == (22, 5)
