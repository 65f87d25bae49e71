"""What the form says of each field, held against the schema of the config."""

import re
from typing import Annotated

import pytest
from pydantic import TypeAdapter

from ddpm.config import Config, config_from_dict
from ddpm.config.section import OneOf
from ddpm.config.settings import all_settings, applies
from ddpm.config.yaml_text import parse_yaml
from ddpm.datasets import DATASETS
from ddpm.errors import ConfigError
from ddpm.samplers import SAMPLERS
from ddpm.schedule import SCHEDULES

SETTINGS = [setting for settings in all_settings().values() for setting in settings]
SECTIONS = {name: type(section) for name, section in Config() if name != "name"}
OPTIONS = {
    field: info
    for section in SECTIONS.values()
    for entry in getattr(section, "registry", {}).values()
    for field, info in entry.options.items()
}


def schema_of(setting) -> dict:
    """The JSON schema of a field, its "or null" taken off."""
    section = SECTIONS[setting.section]
    if setting.name in section.model_fields:
        field = section.model_json_schema()["properties"][setting.name]
    else:
        info = OPTIONS[setting.name]
        field = TypeAdapter(Annotated[info.annotation, info]).json_schema() | {"default": setting.default}
    return field | field["anyOf"][0] if "anyOf" in field else field


def test_every_field_is_there_in_the_order_of_the_config():
    assert [setting.field for setting in SETTINGS] == [
        f"{section}.{field}" for section, model in SECTIONS.items() for field in model.known_fields()
    ]
    assert {setting.field for setting in SETTINGS} >= {
        f"{section}.{field}"
        for section, model in Config().model_dump().items()
        if isinstance(model, dict)
        for field in model
    }


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_help_names_effect_unit_range_and_default(setting):
    schema = schema_of(setting)
    assert setting.help.startswith(schema["description"])
    assert len(schema["description"].split()) >= 5, "a few words on what it does"
    for key, symbol in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
        if key in schema:
            assert f"{symbol} {schema[key]:,g}" in setting.help
    for key in ("multipleOf", "minItems", "maxItems"):
        if key in schema:
            assert re.search(rf"\b{schema[key]}\b", setting.help.split("Range")[1])
    if setting.kind in ("number", "list"):
        assert setting.unit
        assert f"Unit: {setting.unit}." in setting.help
    if setting.choices:
        registry = {"dataset": DATASETS, "name": SCHEDULES, "sampler": SAMPLERS}.get(setting.name)
        written = tuple(schema.get("items", schema)["enum"]) if registry is None else OneOf(registry).offered()
        assert setting.choices == written
    if schema["default"] not in (None, []):
        default = schema["default"]
        shown = ("on" if default else "off") if setting.kind == "switch" else setting.to_text(default)
        assert f"Default: {shown}." in setting.help


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_a_value_survives_its_way_through_the_form(setting):
    config = config_from_dict({"schedule": {"name": "sigmoid"}})
    value = getattr(getattr(config, setting.section), setting.name, None)
    if setting.kind in ("number", "list", "text") and applies(setting, config.model_dump()):
        back = setting.from_text(setting.to_text(value))
        back = setting.default if back is None else back  # left out
        assert (tuple(back) if isinstance(back, list) else back) == value


@pytest.mark.parametrize("text", ["2e-4", "0.0002", " 2.0E-4 "])
def test_numbers_are_read_as_the_config_reads_them(text):
    rate = next(setting for setting in SETTINGS if setting.field == "training.learning_rate")
    assert rate.from_text(text) == 2e-4
    assert rate.to_text(2e-4) == "0.0002"
    assert rate.to_text(1 / 3) == str(1 / 3)


@pytest.mark.parametrize("text", ["[", "{a", "many", "1 2"])
def test_what_is_no_number_is_kept_for_the_config_to_refuse(text):
    epochs = next(setting for setting in SETTINGS if setting.field == "training.epochs")
    assert epochs.from_text(text) == (text if text in ("[", "{a") else parse_yaml(text))


@pytest.mark.parametrize("name", SCHEDULES)
def test_only_the_parameters_of_the_chosen_schedule_are_shown(name):
    of_schedules = [s for s in SETTINGS if s.section == "schedule" and s.default is None]
    shown = {s.name for s in of_schedules if applies(s, {"schedule": {"name": name}})}
    assert shown == set(SCHEDULES[name].defaults)


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_the_options_of_the_chosen_sampler_are_shown(name):
    options = [s for s in SETTINGS if s.section == "sampling" and s.name in ("eta", "variance", "sde")]
    shown = [s.name for s in options if applies(s, {"sampling": {"sampler": name}})]
    assert shown == {"ddpm": ["variance"], "ddim": ["eta"], "dpmpp_2m": ["sde"]}.get(name, [])


def test_the_path_is_shown_for_a_folder_alone():
    assert not any(s.name == "path" and applies(s, {}) for s in SETTINGS)
    assert any(s.name == "path" and applies(s, {"data": {"dataset": "folder"}}) for s in SETTINGS)


def test_the_names_of_classes_are_read_off_the_folder_and_not_typed():
    names = next(setting for setting in SETTINGS if setting.field == "data.class_names")
    assert not applies(names, {"data": {"dataset": "folder", "path": "x"}})


NUMBERS = [setting for setting in SETTINGS if setting.section == "schedule" and setting.kind == "number"]


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_a_slider_stops_at_round_numbers_inside_the_range_and_at_the_defaults(setting):
    defaults = [spec.defaults[setting.name] for spec in SCHEDULES.values() if setting.name in spec.defaults]
    stops = setting.stops(*defaults, *([setting.default] if setting.default else []))
    assert stops == sorted(set(stops))
    assert 25 <= len(stops) <= 250
    assert set(defaults) <= set(stops)
    schema = schema_of(setting)
    assert stops[0] >= schema.get("minimum", -1e9)
    assert stops[0] > schema.get("exclusiveMinimum", -1e9)
    assert stops[-1] <= schema.get("maximum", 1e9)
    assert stops[-1] < schema.get("exclusiveMaximum", 1e9)
    assert all(float(f"{stop:.3g}") == stop for stop in stops)
    for end in ("minimum", "maximum"):
        assert schema.get(end, stops[0]) in stops


def test_a_slider_takes_values_of_a_link_in_and_leaves_those_out_of_range():
    start = next(setting for setting in NUMBERS if setting.name == "beta_start")
    assert 1.234e-9 in start.stops(1.234e-9)
    assert 7 not in start.stops(7)


def test_a_field_of_an_open_range_has_no_slider():
    warmup = next(setting for setting in SETTINGS if setting.field == "training.warmup_steps")
    with pytest.raises(ConfigError, match=r"training.warmup_steps has no slider"):
        warmup.stops()


@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
def test_what_a_field_needs_to_have_an_effect_decides_whether_it_is_shown(weighting):
    gamma = next(setting for setting in SETTINGS if setting.field == "diffusion.min_snr_gamma")
    assert applies(gamma, {"diffusion": {"weighting": weighting}}) == (weighting == "min_snr")
    assert not applies(gamma, {})
    assert not applies(gamma, {"diffusion": 3})


def test_a_schedule_of_any_type_has_no_parameters_to_show():
    of_schedules = [s for s in SETTINGS if s.section == "schedule" and s.default is None]
    assert not any(applies(s, {"schedule": {"name": ["linear"]}}) for s in of_schedules)
