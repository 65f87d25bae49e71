"""Images that arrive through a browser, as files, folders and ZIPs of any kind, become a dataset or one clear error."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm.errors import DataError
from ddpm.image_folder.arriving import Most
from ddpm.image_folder.manifest import list_folder
from ddpm.image_folder.taking import all_taken, forget, images_dir, take_in, taken


def picture(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (60, 40), coloured: bool = True) -> bytes:
    levels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3 if coloured else 1))
    content = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8).squeeze()).save(content, kind)
    return content.getvalue()


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return content


PETS = {f"pets/{name}/IMG {i}.JPG": picture(i, "JPEG") for i, name in enumerate(["cat", "dog", "cat", "dog", "cat"])}


def fault_of(*files: tuple[str, io.BytesIO], most: Most | None = None) -> str:
    """The message of the DataError that these files give, after which nothing of them is left."""
    with pytest.raises(DataError) as caught:
        take_in(files, most=most or Most())
    assert list(images_dir().glob("*")) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def loose(path: str, content: bytes | None = None) -> tuple[str, io.BytesIO]:
    return path, io.BytesIO(picture(hash(path) % 99) if content is None else content)


def test_a_zip_with_what_is_found_in_zips_becomes_classes_and_says_what_was_left_out():
    odd = {
        "pets/.DS_Store": b"x", "__MACOSX/pets/cat/._IMG 0.JPG": b"Mac OS X", "pets/dog/Thumbs.db": b"",
        "pets/dog/notes.txt": b"on the beach", "pets/dog/IMG_7.HEIC": b"ftypheic", "pets/cat/half.png": picture()[:50],
        "pets/cat/page.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }  # fmt: skip
    found = take_in([("Pets 2024.zip", zipped(PETS | odd))])
    assert (found.name, found.images, found.classes) == ("pets-2024", 5, {"cat": 3, "dog": 2})
    assert (found.side, found.coloured) == (40, 1.0)
    assert found.skipped[0].startswith("3 system or hidden files: pets/.DS_Store, ")
    assert found.skipped[1].startswith("1 HEIC photographs, which cannot be read; save them as JPEG: pets/dog/IMG_7")
    assert found.skipped[2] == "1 files that are no images by their names: pets/dog/notes.txt"
    assert found.skipped[3].startswith("2 images that cannot be read: pets/cat/half.png cannot be read as an image")
    listing = list_folder(found.folder)
    assert listing.notes == ()
    assert {name for _, name in listing.files} == {"cat", "dog"}
    assert (found.folder / "cat/IMG 0.jpg").read_bytes() == PETS["pets/cat/IMG 0.JPG"]
    assert taken(found.name) == found


def test_a_folder_and_loose_files_and_several_zips():
    folder = take_in([loose("grey/1.png", picture(1, coloured=False)), loose("grey/2.png", picture(2, coloured=False))])
    assert (folder.name, folder.classes, folder.coloured) == ("grey", {}, 0.0)
    files = take_in([loose("1.png"), loose("2.png"), loose("3.gif", picture(3, "GIF"))])
    assert (files.name, files.images, files.classes) == ("images", 3, {})
    animals = [(f"{name}.zip", zipped({f"{i}.png": picture(i) for i in range(3)})) for name in ("10", "2")]
    assert take_in(animals).classes == {"2": 3, "10": 3}  # in the order of numbers, as labels are


def test_a_name_that_is_taken_gets_a_number_and_images_of_one_name_too():
    first = take_in([("x.zip", zipped({"a/1.png": picture(1), "b/2.png": picture(2)}))])
    second = take_in([("x.zip", zipped({"a/1.png": picture(1), "b/2.png": picture(2), "A\\..png": b""}))])
    assert (first.name, second.name, all_taken()) == ("x", "x-2", ["x-2", "x"])
    same = take_in([loose("1.png"), loose("1.png"), loose("1.PNG")])  # as when a browser forgets their folders
    assert sorted(path.name for path in same.folder.glob("[!.]*")) == ["1-2.png", "1-3.png", "1.png"]
    forget("x-2")
    assert "x-2" not in all_taken()
    with pytest.raises(DataError, match=r"no images called '\.\./x'"):
        forget("../x")


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/evil.png", "C:\\evil.png", "a/../../evil.png", "..\\evil.png"]
)
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    assert "leads out of its folder" in fault_of(("x.zip", zipped(PETS | {name: picture()})))
    assert "leads out of its folder" in fault_of(loose(name), loose("b.png"))
    assert not list(tmp_path.rglob("evil*"))


def test_what_unpacks_to_too_much_is_refused_before_it_does():
    bomb = zipped(PETS | {"pets/cat/bomb.png": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)
    assert "pets/cat/bomb.png in x.zip unpacks from 19,4" in fault_of(("x.zip", bomb))
    lying = zipped({"a.png": picture(1), "b.png": bytes(100_000)}, zipfile.ZIP_DEFLATED).getvalue()
    lying = lying.replace((100_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    assert "1 of 2 images can be read" in fault_of(("x.zip", io.BytesIO(lying)))


def test_archives_that_are_encrypted_nested_or_damaged_are_refused():
    locked = bytearray(zipped(PETS).getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(mark) + at] |= 1
    assert fault_of(("x.zip", io.BytesIO(bytes(locked)))).startswith("x.zip is encrypted (pets/cat/IMG 0.JPG)")
    assert "old.zip is an archive within" in fault_of(("x.zip", zipped(PETS | {"pets/old.zip": b""})))
    assert "b.rar is an archive within" in fault_of(loose("a.png"), loose("b.rar"))
    assert fault_of(("x.zip", io.BytesIO(b"7z\xbc\xaf"))).startswith("x.zip cannot be opened as a ZIP")


def test_each_limit_names_itself_and_the_file():
    three = [loose(f"{i}.png") for i in range(3)]
    assert "3 images are in what you sent, and 2 are the most" in fault_of(*three, most=Most(images=2))
    assert ".png has 0 MB, and 0 MB are the most" in fault_of(*three, most=Most(image_bytes=100))
    assert "more than 2 files have come" in fault_of(*three, most=Most(files=2))
    assert "GB together, and 0.0 GB are the most" in fault_of(*three, most=Most(bytes=10_000))
    assert "0.png has 60 x 40 pixels; 100 is the most" in fault_of(*three, most=Most(pixels=100))
    assert "1 images" in fault_of(loose("1.png"))
    assert "0 images" in fault_of(loose("notes.txt"))


def test_images_of_an_unclear_class_are_refused():
    assert "train/cat/1.png lies too deep" in fault_of(loose("train/cat/1.png"), loose("test/cat/2.png"))
    assert "1 images (x/3.png) lie beside the class folders a" in fault_of(loose("x/a/1.png"), loose("x/3.png"))
    assert "cannot be a class" in fault_of(loose(f"x/{'a' * 101}/1.png"), loose("x/b/3.png"))


def test_the_folder_of_a_run_is_left_alone():
    images_dir().mkdir(parents=True)
    (images_dir() / "config.yaml").write_text("name: images")
    with pytest.raises(DataError, match="is the folder of a run"):
        take_in([loose("1.png"), loose("2.png")])
    assert [path.name for path in images_dir().iterdir()] == ["config.yaml"]


def test_when_it_cannot_be_written_nothing_is_left(monkeypatch):
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        take_in([loose("1.png"), loose("2.png")])
    assert list(images_dir().iterdir()) == []
