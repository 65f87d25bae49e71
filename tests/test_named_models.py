"""A model of named classes, wherever its classes are chosen or shown."""

import json

import numpy as np
import pytest

from ddpm.config import config_to_yaml
from ddpm.datasets import DATASETS
from ddpm.escaping import as_markdown
from ddpm.files import write_text
from ddpm.storage.layouts import CONFIG, WEIGHTS
from ddpm.storage.weights import write_safetensors

PETS = ("cat", "dog")
HOSTILE = ("*<b>x", "a,b", "`$x$`", "no class", "1e3", "long " * 19)


@pytest.fixture
def shipped(random_model, monkeypatch, tmp_path):
    """Make a model of these classes the only one that is shipped; returns its folder."""

    def make(*names, dataset="folder"):
        data = {"dataset": dataset, "image_size": 8, "channels": DATASETS[dataset].channels or 1}
        if dataset == "folder":
            data |= {"path": "pets", "class_names": list(names)}
        model = random_model(data=data, model__num_classes=len(names))
        folder = tmp_path / "shipped" / "pets"
        write_safetensors(model.network, folder / WEIGHTS)
        write_text(folder / CONFIG, config_to_yaml(model.config))
        monkeypatch.setattr("ddpm.storage.places.PRETRAINED", tmp_path / "shipped")
        return folder

    return make


def code(app) -> list[str]:
    return [block.value for block in app.code]


# -- pages ---------------------------------------------------------------------------------------------------------


def draw(app) -> None:
    """Press Generate, unless the picture has followed by itself, which on a quick machine it does."""
    for button in app.button:
        if button.key == "play_generate":
            button.click().run()


@pytest.mark.slow
def test_the_playground_offers_classes_by_name(shipped, open_page):
    shipped(*PETS)
    app = open_page("pages/playground.py", play_count="2", play_draw="dog")
    box = app.selectbox(key="play_draw")
    assert (box.options, box.value) == (["all classes", "cat", "dog", "no class"], "dog")
    link, command, python = code(app)
    assert "play_draw=dog&" in link
    assert "--labels dog " in command
    assert command.endswith("--out images.png")
    assert "labels = [1]  # dog\n" in python
    assert "images.png" in python
    assert "digit" not in " ".join([*(text.value for text in app.markdown), command, python])
    box.set_value("all classes").run()
    draw(app)
    assert "--labels" not in code(app)[1]  # all in turn is the default
    assert "labels = range(model.num_classes)\n" in code(app)[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "key", "said", "means"),
    [
        ("pages/playground.py", "play_draw", "9", "ankle boot"),
        ("pages/playground.py", "play_draw", "ankle boot", "ankle boot"),
        ("pages/playground.py", "play_draw", "all classes", "all classes"),
        ("pages/playground.py", "play_draw", "no class", "no class"),
        ("pages/ladder.py", "ladder_draw", "0", "T-shirt/top"),
    ],
)
def test_links_of_before_classes_had_names_go_on_working(shipped, open_page, page, key, said, means):
    shipped(*DATASETS["fashion_mnist"].class_names, dataset="fashion_mnist")
    app = open_page(page, **{key: said}, **({"play_count": "1", "play_steps": "2"} if "play" in key else {}))
    assert app.selectbox(key=key).value == means
    assert not app.toast


@pytest.mark.slow
def test_a_link_to_a_class_that_is_not_there_is_said_to_be_left_out(shipped, open_page):
    shipped(*PETS)
    app = open_page("pages/playground.py", play_draw="2", play_count="1")
    assert app.selectbox(key="play_draw").value == "all classes"
    assert "play_draw=2" in app.toast[0].value


@pytest.mark.slow
def test_folders_called_by_numbers_are_chosen_by_their_names(shipped, open_page):
    shipped("1", "2", "10")
    app = open_page("pages/playground.py", play_draw="1", play_count="1")
    assert app.selectbox(key="play_draw").value == "1"
    assert "labels = [0]  # 1\n" in code(app)[2]


@pytest.mark.slow
def test_home_says_what_was_asked_for_and_claims_no_more(shipped, open_page):
    shipped(*PETS)
    app = open_page("streamlit_app.py", home_digit="0")
    assert app.get("button_group")[0].proto.label == "Which class?"
    assert any(text.value.startswith("Asked for the class cat. From") for text in app.caption)


@pytest.mark.slow
def test_home_names_what_the_classifier_sees(open_page):
    app = open_page("streamlit_app.py", home_digit="8")
    caption = next(text.value for text in app.caption if text.value.startswith("Asked for an 8; "))
    assert "the classifier sees a" in caption


@pytest.mark.slow
@pytest.mark.parametrize("names", [HOSTILE, tuple(f"class number {k}" for k in range(1000))], ids=["hostile", "1000"])
def test_any_names_and_any_number_of_them_are_offered_in_a_list(shipped, open_page, names):
    shipped(*names)
    app = open_page("streamlit_app.py")
    box = app.selectbox(key="home_digit")
    assert len(box.options) == len(names)
    assert any(as_markdown(names[3]) in text.value for text in app.caption)
    app = open_page("pages/playground.py", play_count="1", play_steps="2")
    for choice in app.selectbox(key="play_draw").options[1:4]:
        app.selectbox(key="play_draw").set_value(choice).run()
        draw(app)
        assert not app.exception
    app = open_page("pages/ladder.py")
    assert len(app.selectbox(key="ladder_draw").options) == len(names) + 1


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "labels"), [("dog,cat", [1, 0, 1]), ("1, cat", [1, 0, 1]), ("dog,-1", [1, -1, 1]), ("none", [-1] * 3)]
)
def test_labels_are_names_or_numbers(shipped, cli, tmp_path, text, labels):
    shipped(*PETS)
    out = tmp_path / "x.npz"
    done = cli("sample", "grid", "--model", "pets", "--num-samples", 3, "--labels", text, "--npz", out)
    assert done.code == 0, done.err
    with np.load(out, allow_pickle=False) as archive:
        assert archive["labels"].tolist() == labels
        assert archive["class_names"].tolist() == list(PETS)


@pytest.mark.parametrize("command", ["grid", "traj", "ladder"])
def test_an_unknown_name_is_an_error_that_lists_the_valid_ones(shipped, cli, command):
    shipped(*PETS)
    done = cli("sample", command, "--model", "pets", "--num-samples", 1, "--labels", "owl")
    assert done.code == 1
    assert "--labels: there is no class 'owl': valid are 'cat', 'dog', or their numbers, 0 to 1" in done.err


def test_the_list_of_models_names_their_classes(shipped, cli, tiny_run):
    shipped(*PETS)
    lines = cli("models").out.splitlines()
    assert lines == [
        "pets  (shipped)  2 classes: 'cat', 'dog'",
        f"run:tiny  10 classes: {', '.join(map(repr, '0123456789'))}",
    ]


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_card_names_the_classes_and_the_folder_keeps_them(shipped, tmp_path):
    from ddpm.media.model_card import write_model_folder
    from ddpm.models import load_model

    shipped(*HOSTILE)
    write_model_folder("pets", tmp_path / "card", "me/pets")
    card = (tmp_path / "card" / "README.md").read_text()
    for name in HOSTILE[:-1]:
        assert as_markdown(name) in card
    assert f"labels=[3], seed=0):  # {HOSTILE[3]}" in card
    assert load_model(str(tmp_path / "card")).class_names == HOSTILE


def test_the_static_page_knows_the_names(shipped):
    from ddpm.deploy.static_page import description
    from ddpm.models import load_model

    shipped(*HOSTILE)
    about = json.loads(json.dumps(description(load_model("pets"))))
    assert about["classNames"] == list(HOSTILE)


def test_results_name_the_classes_of_the_test_images():
    from ddpm.evaluation.results import class_names, name_in, results_csv

    table = {"timesteps": [0], "mse": [0.5]}
    results = {
        "calibration": table | {"per_class": {"9": table}},
        "made_by": {"dataset": "fashion_mnist"},  # as before classes had names
    }
    assert class_names(results)[9] == "ankle boot"
    assert "calibration/class ankle boot,0,mse,0.5," in results_csv(results)
    results["made_by"]["class_names"] = list(PETS)
    assert class_names(results) == PETS
    assert [name_in(PETS, key) for key in ("1", "2")] == ["dog", "2"]
