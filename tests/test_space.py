"""The folder of a Space: what is in it, that it is the same every time, where it goes, and what the Hub may say."""

import io
import json
import re
import shutil
import zipfile
from itertools import pairwise

import pytest
import yaml

from ddpm.deploy import space
from ddpm.deploy.space import PLAN, image_bytes, push_space, sdk_of, space_files, write_space, zip_bytes
from ddpm.errors import ConfigError, HubError, ModelError
from ddpm.evaluation.results import find_results
from ddpm.models import load_model
from tests.conftest import ROOT
from tests.hub_server import TOKEN, Fault


@pytest.fixture(scope="module")
def digits() -> dict[str, bytes]:
    return space_files("digits")


def front_matter(readme: bytes) -> dict:
    return yaml.safe_load(readme.decode().split("---\n")[1])


def written(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what is in it -------------------------------------------------------------------------------------------------


def differing(ours: dict[str, bytes], theirs: dict[str, bytes]) -> set[str]:
    """The names whose bytes differ: shown byte by byte, they would take minutes."""
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}


@pytest.mark.slow
def test_the_same_model_makes_the_same_bytes(digits):
    assert not differing(space_files("digits"), digits)
    assert hash(zip_bytes(space_files("digits"))) == hash(zip_bytes(digits))


@pytest.mark.slow
def test_it_holds_the_app_one_model_and_nothing_else(digits):
    kinds = re.compile(
        r"README\.md|Dockerfile|requirements\.(txt|lock)|streamlit_app\.py|\.streamlit/config\.toml|configs/[\w-]+\.yaml"
        r"|(pages|ddpm)/([a-z_]+/)*\w+\.py|(ddpm/deploy|pages/components)/static/\w+\.(js|css|html)|pages/opening/(\w+\.npz\.xz|decided\.json)"
        r"|pages/museum/(exhibits\.yaml|measured\.json|pictures/\w+-(wrong|right)\.png)"
        r"|ddpm/evaluation/mnist_classifier\.safetensors|ddpm/media/templates/\w+\.(md\.j2|html|css)|docs/glossary\.md"
        r"|ddpm/deploy/host_files/pages\.yml|ddpm/lessons/\w+\.yaml"
        r"|ddpm/pretrained/digits/(model\.safetensors|config\.yaml|evaluation_results\.json)"
    )
    assert [name for name in digits if not kinds.fullmatch(name)] == []
    sources = {
        path.relative_to(ROOT).as_posix()
        for folder in ("ddpm", "pages", "configs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml") and not {"pretrained", "models"} & {*path.parts}
    }
    assert sources <= digits.keys()


@pytest.mark.slow
def test_the_model_is_the_one_that_was_named_with_its_evaluation(digits):
    shipped = ROOT / "ddpm" / "pretrained" / "digits"
    for name in ("model.safetensors", "evaluation_results.json"):
        assert hash(digits[f"ddpm/pretrained/digits/{name}"]) == hash((shipped / name).read_bytes())


@pytest.mark.slow
def test_the_evaluation_of_a_run_goes_with_its_weights(run_without_dataset, tmp_path):
    write_space(space_files("run:tiny"), tmp_path / "space")
    folder = tmp_path / "space" / "ddpm" / "pretrained" / "tiny"
    assert load_model(str(folder)).config == load_model("run:tiny").config
    assert "made_by" in find_results(load_model(str(folder)))


@pytest.mark.slow
def test_what_lies_about_stays_at_home(tmp_path, monkeypatch, digits):
    for name in (*digits, "Dockerfile"):
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(digits[name])
    for name in (
        ".streamlit/secrets.toml", ".gitignore", ".env", "pages/._share.py", "pages/notes.txt", "configs/.x.yaml",
        "ddpm/.ipynb_checkpoints/x.py", "ddpm/__pycache__/x.pyc", "outputs/x/config.yaml", "data/x", "tests/test_x.py",
    ):  # fmt: skip
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    monkeypatch.setattr(space, "ROOT", tmp_path / "app")
    assert not differing(space_files("digits"), digits)


@pytest.mark.slow
def test_a_container_holds_what_a_space_needs(digits):
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {name for name in digits for part in (name, name.partition("/")[0]) if part in ignored}


def test_without_the_app_there_is_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(space, "ROOT", tmp_path)
    with pytest.raises(HubError, match="Dockerfile is not there: a Space is built from a checkout"):
        space_files("digits")


def test_a_model_that_is_not_there_makes_no_space():
    with pytest.raises(ModelError, match="unknown model 'nonsense'"):
        space_files("nonsense")


@pytest.mark.slow
def test_the_front_matter_is_what_the_hub_reads(digits):
    about = front_matter(digits["README.md"])
    assert about["sdk"] == "docker"
    assert about["pinned"] is False
    assert len(about["short_description"]) <= 60
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {about["colorFrom"], about["colorTo"]} <= colours
    dockerfile = digits["Dockerfile"].decode()
    assert f"EXPOSE {about['app_port']}\n" in dockerfile
    assert f"--server.port={about['app_port']} " in dockerfile
    assert "models" not in about


@pytest.mark.slow
def test_a_model_of_the_hub_is_named_on_the_space(hub, digits):
    where = "ddpm/pretrained/digits/"
    commit = hub.add("me/tens", {name: digits[where + name] for name in ("model.safetensors", "config.yaml")})
    files = space_files(f"hf://me/tens@{commit}")
    assert front_matter(files["README.md"])["models"] == ["me/tens"]
    assert hash(files[where + "model.safetensors"]) == hash(digits[where + "model.safetensors"])


@pytest.mark.slow
def test_the_dockerfile_starts_the_app_and_lets_a_space_upload(digits):
    lines = digits["Dockerfile"].decode().splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("FROM")]
    base, train, app = (lines[a:b] for a, b in pairwise([*starts, len(lines)]))
    assert [stage[0] for stage in (train, app)] == ["FROM base AS train", "FROM base AS app"]
    assert 'ENTRYPOINT ["python", "-m", "ddpm", "train"]' in train
    assert not any(line.startswith(("CMD", "USER")) for line in base)
    (command,) = (json.loads(line.removeprefix("CMD ")) for line in app if line.startswith("CMD"))
    assert command[:2] == ["sh", "-c"]
    assert "${SPACE_ID:+--server.enableXsrfProtection=false}" in command[2]
    for stage in (train, app):
        assert [line for line in stage if line.startswith("USER")] == ["USER user"]
    assert "useradd --create-home --uid 1000 user" in "".join(lines)
    assert "/_stcore/health" in "".join(lines)


# -- where it goes -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_becomes_the_space_and_an_earlier_one_is_replaced(tmp_path, digits):
    folder = tmp_path / "space"
    write_space(digits, folder)
    assert not differing(written(folder), digits)
    assert sdk_of(folder) == "docker"
    for name in ("ddpm/pretrained/old/model.safetensors", "pages/gone.py", ".git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    write_space(digits, folder)
    assert not differing(written(folder), digits | {".git/config": b"old"})


@pytest.mark.slow
@pytest.mark.parametrize("readme", [None, b"# mine\n", b"---\ntags: 3\n---\n", b"---\n: [\n---\n", b"\xff---\n---\n"])
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, digits, readme):
    (tmp_path / "thesis.txt").write_text("years of work")
    if readme:
        (tmp_path / "README.md").write_bytes(readme)
    before = written(tmp_path)
    with pytest.raises(ConfigError, match="is not empty, and no Space of this app"):
        write_space(digits, tmp_path)
    assert written(tmp_path) == before


@pytest.mark.slow
def test_the_archive_holds_the_files(digits):
    with zipfile.ZipFile(io.BytesIO(zip_bytes(digits))) as archive:
        assert not differing({name: archive.read(name) for name in archive.namelist()}, digits)


@pytest.mark.slow
def test_the_image_is_estimated(digits):
    assert 1.5e9 < image_bytes(digits) < 3e9


# -- to the Hub ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_space_is_created_and_updated(hub, digits):
    url = push_space(digits, "me/lab", token=TOKEN)
    assert url == f"{hub.url}/spaces/me/lab"
    (name,) = hub.repos
    _, there = hub.repos[name].at("main")
    assert not differing({key: value for key, value in there.items() if key != ".gitattributes"}, digits)
    smaller = {name: content for name, content in digits.items() if not name.startswith("configs/")}
    push_space(smaller, "me/lab", token=TOKEN)
    assert {*hub.repos[name].at("main")[1]} - {".gitattributes"} == smaller.keys()


@pytest.mark.slow
@pytest.mark.parametrize("status", [402, 403])
def test_where_the_hub_will_not_create_it_the_plan_is_named(hub, digits, status):
    hub.faults.append(Fault("POST /api/repos/create", status=status, message="subscribe to PRO"))
    with pytest.raises(HubError) as caught:
        push_space(digits, "me/lab", token=TOKEN)
    assert PLAN in str(caught.value)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.slow
def test_the_plan_is_not_blamed_for_other_faults(hub, digits):
    hub.faults.append(Fault("POST /api/repos/create", status=401, message="Invalid credentials"))
    with pytest.raises(HubError, match="it needs a valid token") as caught:
        push_space(digits, "me/lab", token=TOKEN)
    assert PLAN not in str(caught.value)


# -- on the command line -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_builds_and_lists(cli, tmp_path, digits):
    done = cli("space", "me/lab", "--model", "digits", "--out", "space")
    assert done.code == 0, done.err
    assert not differing(written(tmp_path / "space"), digits)
    *lines, summary, out = done.out.splitlines()
    assert [line.split()[-1] for line in lines] == [*digits]
    assert summary.startswith(f"{len(digits)} files, ")
    assert out == "space"
    shutil.rmtree(tmp_path / "space")
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "mine.txt").touch()
    done = cli("space", "me/lab", "--model", "digits", "--out", "space")
    assert done.code == 1
    assert done.err.startswith("error: space is not empty")


@pytest.mark.slow
def test_the_command_says_what_it_costs_before_it_pushes(hub, cli, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = cli("space", "me/lab", "--model", "digits", "--push", "--private")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == f"{hub.url}/spaces/me/lab"
    assert done.err.startswith(PLAN)
    assert next(iter(hub.repos.values())).private
    assert TOKEN not in done.out + done.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["lab", "--model", "digits"], 1, "error: 'lab' isn't a valid Hub name"),
        (["me/lab", "--model", "digits", "--push"], 1, "needs a token with write access"),
        (["me/lab", "--model", "digits", "--push", "--out", "x"], 2, "give either --out"),
        (["me/lab", "--model", "digits", "--private"], 2, "--private goes with --push"),
        (["me/lab"], 2, "--model"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(hub, cli, options, code, said):
    done = cli("space", *options)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
    assert hub.repos == {}
