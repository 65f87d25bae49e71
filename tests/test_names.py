"""What classes are called: in the config, in a model, and however one asks for them."""

import pytest

from ddpm.config import Config, change, config_from_dict, config_from_yaml, config_to_yaml, with_overrides
from ddpm.datasets import DATASETS
from ddpm.errors import ConfigError
from ddpm.escaping import as_code, as_markdown
from ddpm.names import in_turn, label_named, labels_named, labels_text, listed

PETS = {"dataset": "folder", "path": "pets", "image_size": 8}
HOSTILE = ["*<b>x", "a,b", "no", "1e3", "null", "0x1", "#: - [", " ä ", "\U0001f600", "'\"", "\u200d", "x" * 100]


def pets(*names, classes=None, **data):
    model = _small(len(names) if classes is None else classes)
    return {"data": PETS | {"class_names": list(names)} | data, "model": model}


def _small(classes):
    return {"num_classes": classes, "channel_mult": [1, 2], "attention_resolutions": []}


# -- in the config -------------------------------------------------------------------------------------------------


def test_a_config_without_names_goes_on_working():
    assert config_from_dict({"data": PETS, "model": _small(3)}).class_names == ("0", "1", "2")
    assert config_from_dict({"data": PETS, "model": _small(0)}).class_names == ()
    assert Config().class_names == ()


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.function])
def test_named_datasets_have_names_of_their_own(name):
    info = DATASETS[name]
    size = {"image_size": 32, "channels": info.channels, "dataset": name}
    config = config_from_dict({"data": size, "model": {"num_classes": 10}})
    assert config.class_names == info.class_names
    assert config.data.class_names is None
    assert "class_names" not in config_to_yaml(config)
    assert len(set(info.class_names)) == info.num_classes == 10


def test_names_are_those_of_the_labels_of_torchvision():
    from ddpm.torchvision_cpu import datasets

    theirs = [name.casefold() for name in datasets.FashionMNIST.classes]
    assert [name.casefold() for name in DATASETS["fashion_mnist"].class_names] == theirs


def test_names_survive_yaml_and_go_with_the_model():
    config = config_from_dict(pets(*HOSTILE))
    assert config.class_names == tuple(HOSTILE)
    assert config_from_yaml(config_to_yaml(config)) == config


def test_an_unconditional_model_of_a_sorted_folder_has_no_classes_to_ask_for():
    config = config_from_dict(pets("cat", "dog", classes=0))
    assert config.data.known_class_names == ("cat", "dog")
    assert config.class_names == ()


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (pets("cat", "dog", classes=10), "model.num_classes: must be 0 or 2 for data.class_names 'cat', 'dog', got 10"),
        (pets("cat", "dog", "cat"), "data.class_names: must differ from each other; 'cat' stands there twice"),
        (pets("cat", ""), "data.class_names: must have names of 1 to 100 characters .* one is ''"),
        (pets("cat", "x" * 101), "data.class_names: must have names of 1 to 100 characters"),
        (pets("cat", "a\nb"), r"data.class_names: must have .*without line breaks.* one is 'a\\nb'"),
        (pets("cat", "a\u2028b"), "data.class_names: must have .*without line breaks"),
        (pets("cat", "\udcff"), r"data.class_names: must have .*UTF-8; one is '\\udcff'"),
        (pets("cat", 3), "data.class_names.1: must be a valid string, got 3"),
        (pets(*(f"{k:03}{'x' * 97}" for k in range(1000))), "data.class_names: must be shorter: together they have"),
        ({"data": {"dataset": "mnist", "class_names": ["a"]}}, "data.class_names: go with dataset 'folder'; mnist has"),
    ],
)
def test_names_that_cannot_be_are_refused(values, fault):
    with pytest.raises(ConfigError, match=fault):
        config_from_dict(values)


@pytest.mark.slow
def test_a_thousand_names_are_a_config_that_can_be_read_again(tmp_path):
    from ddpm.config import load_config
    from ddpm.files import write_text

    config = config_from_dict(pets(*(f"{k:03}{'ä' * 20}" for k in range(1000))))
    write_text(tmp_path / "config.yaml", config_to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(("field", "value"), [("data.path", "other"), ("data.dataset", "mnist")])
def test_other_images_have_other_classes(field, value):
    values = pets("cat", "dog")
    change(values, field, value)
    assert "class_names" not in values["data"]
    same = pets("cat", "dog")
    change(same, "data.path", "pets")
    assert same["data"]["class_names"] == ["cat", "dog"]


def test_an_option_for_another_folder_drops_the_names():
    assert with_overrides(config_from_dict(pets("cat", "dog")), ["data.path=other"]).class_names == ("0", "1")


def test_a_model_knows_its_classes(random_model):
    model = random_model(**pets("cat", "dog"))
    assert model.class_names == ("cat", "dog")
    assert [model.class_name(label) for label in (1, 0, -1)] == ["dog", "cat", "no class"]


# -- by name -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "text", "label"),
    [
        (("cat", "dog"), "dog", 1),
        (("cat", "dog"), "1", 1),
        (tuple("0123456789"), "7", 7),
        (("1", "2", "3", "10"), "3", 2),  # a class called by a number is found by its name
        (("1", "2", "3", "10"), "0", 0),
    ],
)
def test_a_class_is_found_by_its_name_then_by_its_number(names, text, label):
    assert label_named(names, text) == label


@pytest.mark.parametrize("text", ["dgo", "2", "-1", "", "1.0", "Ⅷ", "9" * 5000])
def test_an_unknown_class_is_told_which_there_are(text):
    with pytest.raises(ConfigError, match=r"valid are 'cat', 'dog', or their numbers, 0 to 1$") as error:
        label_named(("cat", "dog"), text)
    assert ("did you mean 'dog'" in str(error.value)) == (text == "dgo")


@pytest.mark.parametrize("names", [HOSTILE, ("none", "-1", "cat"), tuple("0123456789"), ("1", "2", "10")])
def test_labels_survive_their_way_through_a_command(names):
    for label in range(len(names)):
        assert labels_named(names, labels_text(names, [label])) == [label]
    every = list(range(len(names)))
    assert labels_named(names, labels_text(names, every)) == every
    assert labels_named(names, labels_text(names, None)) is None


def test_classes_in_turn_are_told_shortly():
    assert in_turn(tuple("0123456789")) == "0 to 9"
    assert in_turn(("cat", "*dog")) == r"cat, \*dog"
    assert in_turn([f"c{k}" for k in range(1000)]).endswith(" and 988 more")


def test_of_a_thousand_classes_a_message_lists_a_few():
    text = listed([f"class {k}" for k in range(1000)])
    assert text.startswith("'class 0', 'class 1'")
    assert text.endswith("and 988 more")


@pytest.mark.parametrize("text", ["a", "a`b", "`a`", "``", "[x](y)", "a\nb", "```\n# x\n```"])
def test_code_shows_a_text_as_it_is(text):
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(as_code(text))
    tokens = [each for token in tokens for each in token.children or [token]]
    code = [token for token in tokens if token.type in ("code_inline", "fence")]
    assert [token.content.strip() for token in code] == [text]
    assert {token.type for token in tokens} <= {"paragraph_open", "paragraph_close", code[0].type}


@pytest.mark.parametrize("name", [*HOSTILE, "1. x", "a | b", "_x_ a_b", "&amp;", "![x](http://evil.example/x.png)"])
def test_markdown_shows_a_name_as_it_is(name):
    from markdown_it import MarkdownIt

    inline = MarkdownIt().parseInline(f"a {as_markdown(name)} b")[0].children
    assert {token.type for token in inline} <= {"text", "text_special"}
    text = "".join(token.content for token in inline).replace("\u2060", "")  # which has no width
    assert text.split() == f"a {name} b".split()
