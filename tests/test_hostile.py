"""Whatever is typed into a config, a name, a link or a command: an answer or one of our errors, and no file touched."""

import copy
import math
import os
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ddpm.cli import main
from ddpm.config import Config, config_from_dict, config_from_yaml, config_to_yaml, with_overrides
from ddpm.config.variants import parse_schedules, schedules_text
from ddpm.errors import ConfigError, DDPMError, HubError
from ddpm.files import RunFolder, output_dir
from ddpm.storage.hub import HubReference
from ddpm.storage.places import resolve
from tests.conftest import TINY

# The same examples every time: a test that fails by chance is worse than one that looks at less. `make soak` looks at
# others, and at more of them.
SOAK = bool(os.environ.get("DDPM_SOAK"))
settings.register_profile(
    "hostile",
    max_examples=2000 if SOAK else 100,
    derandomize=not SOAK,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("hostile")

SPECIAL = st.sampled_from([
    "", ".", "..", "../x", "/etc/passwd", "~", "con", "nul", "-", "--help", "a/b", "a\\b", "run:", "run:../x", "hf://",
    "hf://../..", "hf://a/b@../../c", "hf://user/repo", "file:///etc/passwd", "$(touch x)", "`touch x`", "; rm -rf x",
    "%00", "\0", "\n", "\u202e", "😀", "é", "x" * 300, "9" * 400, "9" * 5000, "1e999", "nan", "-0", "0x10", "1_000",
    "null", "{}", "[" * 200, "&a [*a]", "!!python/object/apply:os.system [ls]", "{{7*7}}", "<script>alert(1)</script>",
    "' OR 1=1",
])  # fmt: skip
TEXTS = st.one_of(SPECIAL, st.text(max_size=40), st.text(string.printable, max_size=40))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(TEXTS, children, max_size=3)),
    max_leaves=5,
)
FIELDS = [(section, field) for section, fields in Config().model_dump().items() if isinstance(fields, dict)
          for field in fields]  # fmt: skip


def is_one_line_each(error: DDPMError) -> bool:
    return bool(str(error)) and all(line.strip() for line in str(error).splitlines())


def is_sound(config: Config) -> bool:
    """Whether what was accepted can be written, read back, and built into a schedule whose every number is finite."""
    again = config_from_yaml(config_to_yaml(config))
    built = config.schedule.build()
    return again == config and bool(built.alphas_cumprod.isfinite().all()) and math.isfinite(config.training.epochs)


@pytest.mark.slow
@given(st.one_of(TEXTS, st.text("abc:-[]{}#&*!|>'\"%@`, \n0123456789.eE_", max_size=80)))
@example("a: &x [1]\nb: [*x, *x]")
@example("model: {" * 3000)
@example("data: 2024-13-45")
@example("x: !!binary AAA")
@example("? [a]\n: b")
def test_any_text_is_a_config_or_refused(text):
    try:
        config = config_from_yaml(text)
    except ConfigError as error:
        assert is_one_line_each(error)
    else:
        assert is_sound(config)


@pytest.mark.slow
@given(st.sampled_from(FIELDS), VALUES)
@example(("training", "epochs"), 10**400)
@example(("training", "learning_rate"), float("nan"))
@example(("schedule", "beta_end"), float("inf"))
@example(("model", "channel_mult"), [10**30])
@example(("data", "path"), "\0")
def test_any_value_in_any_field_is_taken_or_refused_by_name(where, value):
    section, field = where
    values = copy.deepcopy(TINY)
    values.setdefault(section, {})[field] = value
    try:
        config = config_from_dict(values)
    except ConfigError as error:
        assert is_one_line_each(error)
        assert error.faults
    else:
        assert is_sound(config)


@pytest.mark.slow
@given(st.dictionaries(TEXTS, VALUES, max_size=3), st.sampled_from(["", *TINY]))
@example({"modell": None}, "")
@example({"\x1e\x1e": None}, "")
def test_keys_that_nobody_knows_are_refused(extra, section):
    values = copy.deepcopy(TINY)
    target = values[section] if isinstance(values.get(section), dict) else values
    target.update(extra)
    try:
        config = config_from_dict(values)
    except ConfigError as error:
        assert is_one_line_each(error)
    else:
        known = Config.model_fields if target is values else type(getattr(config, section)).model_fields
        assert set(extra) <= set(known)


@given(TEXTS)
@example("con")
@example("Tiny")
@example("x" * 65)
def test_a_run_lies_in_the_outputs_folder_or_is_no_run(name):
    try:
        accepted = with_overrides(Config(), [f"name={name}"]).name
    except ConfigError as error:
        assert is_one_line_each(error)
    else:
        assert RunFolder.named(accepted).path.resolve().parent == output_dir().resolve()
        assert accepted == accepted.lower()  # so that no two differ only in case, which some disks do not tell apart


@pytest.mark.slow
@given(text=TEXTS)
def test_any_reference_is_a_file_or_refused(text, tmp_path, hub):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        try:
            assert resolve(text).weights.is_file()
        except DDPMError as error:
            assert "\n" not in str(error)


@given(TEXTS.map(lambda text: f"hf://user/{text}"))
def test_a_name_on_the_hub_is_read_back_or_refused(text):
    try:
        reference = HubReference.parse(text)
    except HubError as error:
        assert "\n" not in str(error)
    else:
        assert str(reference) == text
        assert ".." not in text


@given(st.one_of(TEXTS, st.text(":=,.0123456789e-", max_size=30).map(lambda rest: f"cosine{rest}")))
@example("cosine:cosine_s=nan")
@example("linear:num_timesteps=1e9")
@example("power:power=1e300")
def test_any_schedules_of_a_link_are_read_back_or_refused(text):
    try:
        schedules = parse_schedules(text)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert parse_schedules(schedules_text(schedules)) == schedules
        assert all(schedule.build().alphas_cumprod.isfinite().all() for schedule in schedules)


COMMANDS = [
    ("sample", "grid"), ("sample", "traj"), ("sample", "ladder"), ("eval",), ("report",), ("viz", "curves"),
    ("viz", "schedules"), ("viz", "dataset"), ("runs",), ("runs", "stop"), ("runs", "kill"), ("runs", "resume"),
    ("runs", "delete"), ("runs", "launch"), ("models",), ("export",), ("push",), ("pull",), ("space",), ("train",),
]  # fmt: skip
OPTIONS = [
    "--model", "--config", "--run", "--set", "--labels", "--seed", "--num-samples", "--steps", "--sampler", "--device",
    "--schedules", "--log-dir", "--indices", "--spacing", "--guidance-scale", "--resume", "--license",
]  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@given(
    command=st.sampled_from(COMMANDS),
    options=st.lists(st.tuples(st.sampled_from(OPTIONS), TEXTS), min_size=1, max_size=3),
    words=st.lists(TEXTS, max_size=2),
)
def test_any_command_ends_with_a_line_and_touches_nothing(command, options, words, tmp_path, tiny_run, capsys, hub):
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    (tmp_path / "precious.txt").write_text("precious")
    before = tree(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        with pytest.raises(SystemExit) as exit_:
            main([*command, *(part for option in options for part in option), *words])
    shown = capsys.readouterr()
    assert exit_.value.code in (0, 1, 2), shown.err
    assert "Traceback" not in shown.err
    if exit_.value.code == 1:
        assert len(shown.err.strip().splitlines()) >= 1
    changed = {name for name, content in tree(tmp_path).items() if before.get(name) != content}
    assert not {name for name in changed if not Path(name).is_relative_to(work)}
    assert before.keys() <= tree(tmp_path).keys()


SAMPLING = ("sampler", "steps", "eta", "sde", "variance", "spacing", "guidance", "interval")
LINKED = {
    "pages/playground.py": ["play_model", "play_count", "play_draw", "play_seed", "play_rolled", "play_weights",
                            "play_pixels", *(f"play_{name}" for name in SAMPLING)],
    "pages/ladder.py": ["ladder_model", "ladder_draw", "ladder_most", "ladder_seed"],
    "pages/schedules.py": ["sched", "sched_t", "sched_over", "sched_steps", "sched_spacing", "sched_source",
                           "sched_seed", "sched_image_digits"],
    "pages/train.py": ["train_from", "train_schedule"],
    "pages/curves.py": ["curves_runs", "curves_axis", "curves_log", "curves_smoothing"],
    "pages/evaluate.py": ["eval_model", "eval_second", "eval_stage", "eval_class", "eval_metric", "eval_references",
                          "eval_over"],
    "pages/plane.py": ["plane_data", "plane_class", "plane_arrows", "plane_guidance", "plane_interval", "plane_walks",
                       "plane_question", "plane_look", "plane_strokes", "plane_count", "plane_steps"],
    "pages/draw.py": ["draw_model", "draw_tool", "draw_class", "draw_seed", "draw_strength", "draw_strokes",
                      "blend_how",
                      "repair_repeats", "repair_strokes", "branch_t1", "branch_follow1", "branch_over", "invert_class",
                      "invert_guidance"],
    "pages/lessons.py": ["lesson", "card", "answers", "projector"],
    "pages/museum.py": ["museum_exhibit"],
    "pages/share.py": ["share_model", "share_as", "share_repo"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", LINKED)
def test_a_page_opens_with_anything_in_its_link(path, open_page, tiny_run, hub, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "ddpm.storage.places.PRETRAINED", tmp_path / "none"
    )  # the tiny run is what every page falls back on

    @settings(max_examples=200 if SOAK else 5)
    @given(st.dictionaries(st.sampled_from(LINKED[path]), TEXTS, min_size=1))
    @example(dict.fromkeys(LINKED[path], ""))
    @example(dict.fromkeys(LINKED[path], "9" * 5000))
    def opens(query):
        before = {file: file.stat().st_mtime_ns for file in tiny_run.rglob("*")}
        open_page(path, **query)
        assert {file: file.stat().st_mtime_ns for file in tiny_run.rglob("*")} == before

    opens()
