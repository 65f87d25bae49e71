"""The config: YAML there and back, and every fault named in one line."""

import pytest
from pydantic import ValidationError

from ddpm.config import (
    Config,
    DiffusionConfig,
    ScheduleConfig,
    Section,
    config_from_yaml,
    config_to_yaml,
    differences,
    holds_text,
    load_config,
    renamed,
    with_overrides,
    with_schedule,
)
from ddpm.config.yaml_text import dump_yaml, parse_yaml
from ddpm.datasets import DATASETS
from ddpm.errors import ConfigError
from ddpm.schedule import SCHEDULES, make_schedule
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def load(text: str, tmp_path, overrides=()) -> Config:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, list(overrides))


def fault_of(text: str, tmp_path, overrides=()) -> str:
    """The message of the one ConfigError that this YAML gives, without the file's name; it is a single line."""
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{tmp_path / 'some.yaml'}", "FILE")


# -- there and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_in_the_repo_survives_yaml(path, tmp_path):
    config = load_config(path)
    assert config.name == path.stem
    assert load(config_to_yaml(config), tmp_path) == config


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_saved_config_says_which_schedule_ran(name, tmp_path):
    text = f"schedule: {{name: {name}, num_timesteps: 50}}\nsampling: {{num_steps: 10}}\n"
    config = load(text + "diffusion: {prediction_type: v}", tmp_path)
    saved = parse_yaml(config_to_yaml(config))["schedule"]
    assert {key: saved[key] for key in SCHEDULES[name].defaults} == SCHEDULES[name].defaults
    assert (config.schedule.build().alphas_cumprod == make_schedule(name, 50).alphas_cumprod).all()


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load("", tmp_path) == Config()


@pytest.mark.parametrize("text", ["2e-4", "2E-4", "2.0e-4", "0.0002", "'2e-4'", "+2e-4"])
def test_two_e_minus_four_is_a_number(text, tmp_path):
    assert load(f"training: {{learning_rate: {text}}}", tmp_path).training.learning_rate == 2e-4


def test_the_defaults_are_those_of_the_papers():
    config = Config()
    assert (config.schedule.name, config.schedule.num_timesteps) == ("linear", 1000)
    assert (config.schedule.beta_start, config.schedule.beta_end) == (1e-4, 0.02)
    assert (config.diffusion.prediction_type, config.diffusion.loss) == ("eps", "mse")
    assert not config.data.horizontal_flip
    assert config.image_shape == (1, 32, 32)


def sections(model=Config):
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation)


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_every_field_has_a_description_and_a_default(section):
    for name, field in section.model_fields.items():
        assert not field.is_required(), name
        if field.annotation not in list(sections()):
            assert field.description, name
            assert field.description.endswith("."), name


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_the_config_is_frozen(section):
    name = next(iter(section.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section(), name, None)


def test_the_choices_are_those_that_the_code_knows():
    from ddpm.config.settings import all_settings
    from ddpm.diffusion import LOSSES, PREDICTION_TYPES, WEIGHTINGS
    from ddpm.samplers import SAMPLERS
    from ddpm.spacing import SPACINGS

    choices = {setting.field: setting.choices for settings in all_settings().values() for setting in settings}
    assert choices["data.dataset"] == tuple(name for name in DATASETS if name != "arrays")
    assert choices["schedule.name"] == tuple(SCHEDULES)
    assert choices["diffusion.prediction_type"] == PREDICTION_TYPES
    assert choices["diffusion.loss"] == tuple(LOSSES)
    assert choices["diffusion.weighting"] == WEIGHTINGS
    assert choices["sampling.sampler"] == tuple(SAMPLERS)
    assert choices["sampling.spacing"] == SPACINGS


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {}", "FILE, line 1: modle: unknown key 'modle': did you mean 'model'? valid are name, data, schedule"),
        (
            "training: {lerning_rate: 1}",
            "FILE, line 1: training.lerning_rate: unknown key 'lerning_rate': did you mean 'learning_rate'?",
        ),
        ("training: {epochs: many}", "FILE, line 1: training.epochs: must be a valid integer"),
        ("training: {epochs: 0}", "FILE, line 1: training.epochs: must be greater than or equal to 1, got 0"),
        (
            "training: {learning_rate: .nan}",
            "FILE, line 1: training.learning_rate: must be a finite number",
        ),
        ("training: 5", "FILE, line 1: training: expected a section with fields, got 5"),
        ("- 1", "FILE: expected sections such as 'data:' and 'model:', got list"),
        (
            "name: Not A Name",
            "FILE, line 1: name: must be 1 to 64 of a-z, 0-9, - and _",
        ),
        ("name: ../up", "FILE, line 1: name: must be 1 to 64 of"),
        (
            "data: {dataset: minst}",
            "FILE, line 1: data.dataset: did you mean 'mnist'? must be 'digits', 'mnist', 'fashion_mnist', 'cifar10' "
            "or 'folder'",
        ),
        ("data: {dataset: cifar10}", "FILE, line 1: data.channels: must be 3 for cifar10, got 1"),
        ("data: {dataset: folder}", "FILE, line 1: data.path: must name the folder that holds the images"),
        ("data: {dataset: folder, path: ' '}", "FILE, line 1: data.path: must name the folder that holds the images"),
        (
            "data: {path: x}",
            "FILE, line 1: data.path: must be left out for mnist: it is for the dataset 'folder' alone",
        ),
        ("data: {val_fraction: 0.5}", "FILE, line 1: data.val_fraction: must be less than 0.5, got 0.5"),
        (
            "schedule: {num_timesteps: 1}",
            "FILE, line 1: schedule.num_timesteps: must be greater than or equal",
        ),
        ("schedule: {name: cos}", "FILE, line 1: schedule.name: did you mean 'cosine'? must be 'linear', 'cosine'"),
        ("schedule: {name: [cosine]}", "FILE, line 1: schedule.name: must be 'linear', 'cosine'"),
        (
            "schedule: {name: cosine, beta_start: 0.1}",
            "FILE, line 1: schedule.beta_start: does not belong to the cosine schedule, which takes cosine_s",
        ),
        (
            "schedule: {beta_start: 0.5}",
            "FILE, line 1: schedule.beta_start: must be below beta_end, got 0.5 and 0.02",
        ),
        (
            "schedule: {name: sigmoid, sigmoid_start: 4}",
            "FILE, line 1: schedule.sigmoid_start: must be below sigmoid_end, got 4.0 and 3.0",
        ),
        (
            "schedule: {beta_end: 0.9, num_timesteps: 10000}",
            "FILE, line 1: schedule: alphas_cumprod must fall",
        ),
        (
            "schedule: {zero_terminal_snr: true}",
            "FILE, line 1: schedule.zero_terminal_snr: needs diffusion.prediction_type v, u or x0",
        ),
        (
            "diffusion: {prediction_type: epsilon}",
            "FILE, line 1: diffusion.prediction_type: must be 'eps', 'x0', 'v' or 'u'",
        ),
        (
            "data: {image_size: 30}",
            "FILE, line 1: data.image_size: 30 must be divisible by 4 = model.patch_size 1 x 4 from 3 levels",
        ),
        (
            "data: {image_size: 28}\nmodel: {patch_size: 2}",
            "FILE, line 1: data.image_size: 28 must be divisible by 8 = model.patch_size 2 x 4 from 3 levels",
        ),
        (
            "model: {attention_resolutions: [7]}",
            "FILE, line 1: model.attention_resolutions: this model has no 7x7 level; choose among 32, 16, 8",
        ),
        ("model: {channel_mult: []}", "FILE, line 1: model.channel_mult: Tuple should have at least 1 item"),
        (
            "model: {channel_mult: [1, 0, 4]}",
            "FILE, line 1: model.channel_mult: must be 1 or more at every level, got [1, 0, 4]",
        ),
        ("model: {base_channels: 20}", "FILE, line 1: model.base_channels: must be a multiple of 8, got 20"),
        (
            "model: {base_channels: 24, head_channels: 16}",
            "FILE, line 1: model.head_channels: 16 must divide the channels of every level wider than it",
        ),
        ("model: {num_classes: 9}", "FILE, line 1: model.num_classes: must be 0 or 10 for mnist, got 9"),
        (
            "sampling: {num_steps: 1001}",
            "FILE, line 1: sampling.num_steps: must be at most schedule.num_timesteps (1000), got 1001",
        ),
        (
            "sampling: {sampler: dpm}",
            "FILE, line 1: sampling.sampler: did you mean 'ddpm'? must be 'ddpm', 'ddim', 'heun' or 'dpmpp_2m', got "
            "'dpm'",
        ),
        (
            "sampling: {guidance_interval: [9, 3]}",
            "FILE, line 1: sampling.guidance_interval: must be two timesteps, the first from 0 to the last, got [9, 3]",
        ),
        (
            "schedule: {beta_end: 0.5}",
            "FILE: diffusion.prediction_type: must be v, u or x0 for this schedule: it leaves alpha_bar = 5e-134",
        ),
        ("sampling: {eta: 1.5}", "FILE, line 1: sampling.eta: must be less than or equal to 1, got 1.5"),
        ("data: {dataset: mnist", "FILE, line 1, column 22: not valid YAML: expected ',' or '}'"),
        (
            "name: !!python/object:os.system x",
            "FILE, line 1, column 7: not valid YAML: leave out the tag !!python/object:os.system",
        ),
        ("name: \x00", "FILE: not valid YAML"),
        ("training: 2024-13-45", "FILE, line 1: training: expected a section with fields, got '2024-13-45'"),
        ("schedule: {power: !!int ''}", "FILE, line 1, column 19: not valid YAML: '' is no int"),
        ("schedule: {power: !!float ''}", "FILE, line 1, column 19: not valid YAML: '' is no float"),
        ("schedule: {power: !!float 0x1f}", "FILE, line 1, column 19: not valid YAML: '0x1f' is no float"),
        ("schedule: {power: !!bool x}", "FILE, line 1, column 19: not valid YAML: 'x' is no bool"),
        ("schedule: {power: !!null x}", "FILE, line 1, column 19: not valid YAML: 'x' is no null"),
        ("schedule: {name: power, power: 0x_}", "FILE, line 1: schedule.power: must be a valid number"),
        (
            f"schedule: {{name: power, power: {':'.join(['59'] * 6000)}}}",
            "FILE, line 1: schedule.power: must be a valid number",
        ),
        *(
            (f"name: !!{tag} {value}", f"FILE, line 1, column 7: not valid YAML: leave out the tag !!{tag}: values are")
            for tag, value in {
                "timestamp": "x",
                "binary": "x",
                "set": "[x]",
                "omap": "[x]",
                "pairs": "{a: b}",
                "value": "x",
                "merge": "x",
                "seq": "x",
                "map": "[x]",
                "str": "{}",
            }.items()
        ),
        ("<<: {name: x}", "FILE, line 1: <<: unknown key '<<'"),
        ("? [a, b]\n: 1", "FILE, line 1, column 3: not valid YAML: found unhashable key"),
        ("[" * 5000, "FILE: not valid YAML"),
    ],
)
def test_a_fault_is_one_line_that_names_the_field_and_what_is_right(text, message, tmp_path):
    assert fault_of(text, tmp_path).startswith(message)


@pytest.mark.parametrize("value", ["true", "yes"])
def test_a_switch_is_no_number(value, tmp_path):
    assert fault_of(f"training: {{epochs: {value}}}", tmp_path).startswith("FILE, line 1: training.epochs: must")


def test_a_level_of_a_single_pixel_is_refused(tmp_path):
    """GroupNorm over one pixel of eight channels has groups of one value: it fails, or leaves nothing of the image."""
    model = "{base_channels: 8, channel_mult: [1, 1, 1, 1], attention_resolutions: []}"
    assert "image_size" in fault_of(f"data: {{dataset: digits, image_size: 8}}\nmodel: {model}", tmp_path)


def test_two_faults_are_one_line_each(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load("training: {epochs: 0, batch_size: 0}", tmp_path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "training.epochs",
        "training.batch_size",
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "some.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"config {path} cannot be read: ")


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_a_fault_names_its_line_and_its_field():
    text = """name: mine
data:
  dataset: digits
  image_size: 31
model:
  channel_mult: [1, 2]
training:
  batch_size: 0
  lerning_rate: 1
"""
    with pytest.raises(ConfigError) as caught:
        config_from_yaml(text.replace("31", "8"))
    assert [fault[::2] for fault in caught.value.faults] == [("training.batch_size", 8), ("training.lerning_rate", 9)]
    with pytest.raises(ConfigError) as caught:
        config_from_yaml(text.split("training")[0])
    assert caught.value.faults == (
        ("data.image_size", "31 must be divisible by 2 = model.patch_size 1 x 2 from 2 levels", 4),
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        config_from_yaml("name: mine\ntraining: [\n")
    assert caught.value.faults[0].line == 3


def test_differences_name_the_fields_that_changed():
    old = Config()
    new = with_overrides(old, ["training.epochs=3", "schedule.name=cosine", "name=other"])
    changed = differences(old, new)
    assert changed["training.epochs"] == (20, 3)
    assert changed["schedule.beta_start"] == (1e-4, None)
    assert set(changed) == {
        "training.epochs", "schedule.name", "schedule.beta_start", "schedule.beta_end", "schedule.cosine_s",
    }  # fmt: skip


# -- overrides -----------------------------------------------------------------------------------------------------


def test_overrides_change_one_field_each_and_create_their_section(tmp_path):
    config = load("name: a", tmp_path, ["training.epochs=6", "model.channel_mult=[1, 2]", "training.learning_rate=2e-4",
                                        "model.attention_resolutions=[16]", "name=b"])  # fmt: skip
    assert (config.training.epochs, config.model.channel_mult, config.name) == (6, (1, 2), "b")
    assert config.training.learning_rate == 2e-4


def test_overrides_of_a_config_leave_the_original_alone():
    config = Config()
    changed = with_overrides(config, ["sampling.num_steps=7"])
    assert (changed.sampling.num_steps, config.sampling.num_steps) == (7, 50)
    assert changed.model_copy(update={"sampling": config.sampling}) == config


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_schedule_brings_its_own_parameters(name, tmp_path):
    changes = [f"schedule.name={name}", "diffusion.prediction_type=v"]
    assert load("name: a", tmp_path, changes).schedule.parameters == SCHEDULES[name].defaults
    assert with_overrides(Config(), changes).schedule.parameters == SCHEDULES[name].defaults


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set takes section.field=value, got 'training.epochs'"),
        ("=3", "--set takes section.field=value, got '=3'"),
        ("training.epochs.more=3", "--set training.epochs.more: training.epochs is no section"),
        ("training.epoch=3", "FILE: training.epoch: unknown key 'epoch': did you mean 'epochs'?"),
        ("training.epochs=[", "--set training.epochs, line 1, column 2: not valid YAML"),
        ("training.epochs=", "FILE: training.epochs: must be a valid integer, got None"),
    ],
)
def test_a_wrong_override_is_named(override, message, tmp_path):
    assert fault_of("training: {epochs: 2}", tmp_path, [override]).startswith(message)


def test_another_schedule_brings_what_it_asks_of_the_rest():
    config = Config(diffusion={"prediction_type": "eps"}, sampling={"num_steps": 50})
    plain = with_schedule(config, ScheduleConfig(name="cosine"))
    assert plain.schedule.name == "cosine"
    assert set(differences(config, plain)) == {f"schedule.{f}" for f in ("name", "beta_start", "beta_end", "cosine_s")}
    rescaled = with_schedule(config, ScheduleConfig(num_timesteps=20, zero_terminal_snr=True))
    assert differences(config, rescaled) == {
        "schedule.num_timesteps": (1000, 20),
        "schedule.zero_terminal_snr": (False, True),
        "diffusion.prediction_type": ("eps", "v"),
        "sampling.num_steps": (50, 20),
    }
    x0 = config.model_copy(update={"diffusion": DiffusionConfig(prediction_type="x0")})
    assert with_schedule(x0, ScheduleConfig(zero_terminal_snr=True)).diffusion.prediction_type == "x0"


def test_faults_of_a_schedule_alone_name_its_fields_as_those_of_a_config_do():
    with pytest.raises(ConfigError) as caught:
        ScheduleConfig.from_values({"name": "linear", "beta_start": 0.5}, "schedule")
    assert str(caught.value) == "schedule: schedule.beta_start: must be below beta_end, got 0.5 and 0.02"
    assert caught.value.faults[0].field == "schedule.beta_start"


AWKWARD = ["2024", "no", "1e3", "null", "1_0", "2024-01-01", "2024-13-45", "0x1f", "0o17", "on", "y", "12e-3"]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(name):
    changes = with_overrides(Config(), [f"name={name}", "data.dataset=folder", f"data.path={name}/x"])
    for config in (renamed(Config(), name), changes, config_from_yaml("", overrides=[f"name='{name}'"])):
        assert config.name == name
        assert config_from_yaml(config_to_yaml(config)) == config
    assert changes.data.path == f"{name}/x"
    if name != "null":  # which in a file is no value
        text = f"name: {name}\ndata: {{dataset: folder, path: {name}}}"
        assert (config_from_yaml(text).name, config_from_yaml(text).data.path) == (name, name)


@pytest.mark.parametrize("text", [*AWKWARD, "~", "=", "<<", "+1e3", ".5e3", "1.", "1:30", "a: b", "#", "", "-", "é"])
def test_text_is_written_so_that_it_is_read_back_as_text(text):
    assert parse_yaml(dump_yaml({"a": text, "b": [text]})) == {"a": text, "b": [text]}


def test_fields_of_text_are_those_that_take_nothing_else():
    fields = ("name", "data.path", "data.dataset", "sampling.sampler", "training.device")
    assert all(map(holds_text, fields))
    others = ("training.epochs", "data.channels", "model.channel_mult", "training.compile", "data", "data.no", "no.no")
    assert not any(map(holds_text, others))


def test_an_override_takes_a_field_of_text_back_to_none():
    config = with_overrides(Config(), ["data.dataset=folder", "data.path=#1"])
    assert config.data.path == "#1"
    assert with_overrides(config, ["data.dataset=mnist"]).data.path is None
    with pytest.raises(ConfigError, match=r"data\.path: must name the folder"):
        with_overrides(config, ["data.path=null"])
