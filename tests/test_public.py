"""Public mode: when it is on, its limits whatever is asked for, and every page under tampered links."""

import ast
import io
import itertools
import random
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec
from streamlit.testing.v1 import AppTest

from ddpm.config import config_from_yaml, sampling_settings
from ddpm.deploy import public
from ddpm.errors import ConfigError, DataError, ModelError
from ddpm.evaluation.ladder import plan_evaluations
from ddpm.image_folder.decode import read_image
from ddpm.models import load_model
from ddpm.samplers import SAMPLERS
from ddpm.sampling import evaluations
from pages.components import source
from pages.components.ladder import plans
from pages.components.models import cached_model, model_references
from pages.components.sampling import MAX_IMAGES, Request, run
from tests.conftest import ROOT

PAGES = ["streamlit_app.py", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("pages/*.py")))]


@pytest.fixture(autouse=True)
def own_machine(monkeypatch):
    for name in ("DDPM_PUBLIC", "SPACE_ID", "DDPM_MAX_EVALUATIONS", "DDPM_MODELS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def strangers(monkeypatch):
    monkeypatch.setenv("DDPM_PUBLIC", "1")


# -- the switch and the limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"DDPM_PUBLIC": "1"}, True),
        ({"SPACE_ID": "me/digits"}, True),
        ({"SPACE_ID": "me/digits", "DDPM_PUBLIC": "0"}, False),
        ({"SPACE_ID": "", "DDPM_PUBLIC": ""}, False),
    ],
)
def test_it_is_on_where_it_is_asked_for_and_on_a_space(environment, on, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert public.is_public() == on
    assert (public.limits().evaluations == 2000) == on


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DDPM_PUBLIC", "yes", "DDPM_PUBLIC must be 1 .* or 0 .*, got 'yes'"),
        ("DDPM_MAX_EVALUATIONS", "0", "DDPM_MAX_EVALUATIONS must be a whole number from 1, got '0'"),
        ("DDPM_MAX_EVALUATIONS", "2e3", "got '2e3'"),
        ("DDPM_MODELS", "run:mine,/etc/passwd", "DDPM_MODELS lists run:NAME and .*, got '/etc/passwd'"),
        ("DDPM_MODELS", "run:../x", "got 'run:../x'"),
    ],
)
def test_a_setting_that_cannot_be_understood_is_named(name, value, said, monkeypatch, strangers):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        public.limits(), public.extra_models()


@pytest.mark.slow
def test_what_is_allowed_never_costs_more_than_the_limit(strangers, monkeypatch):
    monkeypatch.setenv("DDPM_MAX_EVALUATIONS", "700")
    model, draw, allowed = load_model("digits"), random.Random(0), 0
    for _ in range(100):
        own = {"guidance_interval": tuple(sorted(draw.sample(range(1000), 2)))} if draw.random() < 0.5 else {}
        settings = sampling_settings(
            model.config, sampler=draw.choice(list(SAMPLERS)), num_steps=round(10 ** draw.uniform(0, 3)),
            guidance_scale=draw.choice([0.0, 1.0, 2.5]), **own,
        )  # fmt: skip
        labels = draw.choice([None, (3,), tuple(range(10))])
        request = Request("digits", draw.randint(1, MAX_IMAGES), labels, settings, 0)
        cost = request.count * evaluations(settings, model.schedule, guided=labels is not None)
        most = request.most_images(model)
        if cost <= 700:
            allowed += 1
            request.check(model)
            assert request.count <= most
        else:
            assert request.count > most
            with pytest.raises(ConfigError, match=f"{cost:,} network evaluations, and 700 are the most"):
                run(request, model)  # before anything is computed
    assert 20 < allowed < 80


@pytest.mark.slow
def test_a_number_of_images_that_no_widget_offers_is_refused_everywhere():
    settings = load_model("digits").config.sampling
    for count in (0, -1, MAX_IMAGES + 1, 10**9):
        with pytest.raises(ConfigError, match="must be 1 to 64"):
            Request("digits", count, None, settings, 0)


@pytest.mark.slow
def test_images_that_are_too_large_to_keep_are_refused(strangers, random_model):
    data = {"dataset": "cifar10", "image_size": 128, "channels": 3}
    model = random_model(data=data, model__attention_resolutions=[64])
    with pytest.raises(ConfigError, match=r"250,000 are the most on this public page: at most 5 images"):
        Request("x", 6, None, model.config.sampling, 0).check(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "mnist"])
@pytest.mark.parametrize("labels", [None, [3]])
def test_every_ladder_that_is_offered_keeps_to_the_limit(name, labels, strangers):
    model = load_model(name)
    offered = plans(model, labels)
    assert max(offered) >= 50
    for plan in offered.values():
        assert plan_evaluations(model, plan, labels=labels) <= 2000
        assert plan[-1].sampler == "ddim"
        assert plan[-1].num_steps == max(rung.num_steps for rung in plan) >= 500


@pytest.mark.slow
def test_at_home_nothing_is_limited(monkeypatch):
    model = load_model("digits")
    settings = sampling_settings(model.config, sampler="heun", num_steps=1000, guidance_scale=2.0)
    request = Request("digits", MAX_IMAGES, (3,), settings, 0)
    assert request.most_images(model) is None
    request.check(model)
    assert max(plans(model, [3])) == 1000
    assert plans(model, [3])[5][-1].num_steps == 1000
    public.forbid("Training")


# -- models, uploads, texts ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_only_shipped_and_chosen_models_are_there(strangers, tiny_run, monkeypatch):
    assert model_references() == ["digits", "mnist", "mnist-fast"]
    for reference in ("run:tiny", "tiny", str(tiny_run), f"{tiny_run}/ckpts/ema.pt", "../../etc/passwd"):
        with pytest.raises(ModelError, match="unknown model"):
            cached_model(reference)
    monkeypatch.setenv("DDPM_MODELS", "run:tiny, hf://someone/else@v1")
    assert model_references() == ["digits", "mnist", "mnist-fast", "run:tiny", "hf://someone/else@v1"]
    assert cached_model("run:tiny").config.name == "tiny"


def uploaded(content: bytes) -> UploadedFile:
    return UploadedFile(UploadedFileRec("id", "../../x.png", "image/png", content), None)


def test_an_upload_is_checked_by_its_content(strangers):
    small, bomb, tiff = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.new("RGB", (100, 50)).save(small, "PNG")
    Image.new("1", (6000, 5000)).save(bomb, "PNG")  # 4 kB that unpack to 90 MB
    Image.new("L", (8, 8)).save(tiff, "TIFF")
    assert source._read(uploaded(small.getvalue()), 64, 3).shape == (1, 3, 64, 64)
    assert "6,000 x 5,000 pixels; 25,000,000 is the most" in source._read(uploaded(bomb.getvalue()), 64, 3)
    assert "of no known kind" in source._read(uploaded(tiff.getvalue()), 64, 3)
    assert source._read(uploaded(bytes(11 * 2**20)), 64, 3) == "The file has 11.0 MB; 10 are the most."
    with pytest.raises(DataError, match="of no known kind"):
        read_image(tiff, 8, 1, "it", kinds=("PNG",))


def test_no_folder_of_this_machine_is_left_in_a_text(monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_DATA_DIR", str(tmp_path / "images"))
    monkeypatch.setenv("DDPM_OUTPUT_DIR", str(tmp_path / "runs"))
    text = (
        f"{tmp_path}/runs/a/ckpts/ema.pt is damaged; dataset mnist is not in {tmp_path}/images (no: 1/2 a/b), "
        f"{ROOT}/configs/x.yaml, see https://example.org/a/b, /srv/secret/key.pem; '/usr/lib/python3/x.py' ~/.cache/y"
    )
    assert public.redacted(text) == text
    monkeypatch.setenv("DDPM_PUBLIC", "1")
    assert public.redacted(text) == (
        "outputs/a/ckpts/ema.pt is damaged; dataset mnist is not in data/ (no: 1/2 a/b), "
        "configs/x.yaml, see https://example.org/a/b, …/key.pem; '…/x.py' ~/.cache/y"
    )


def test_every_cache_is_bounded():
    sources = [ROOT / "streamlit_app.py", *ROOT.glob("pages/**/*.py")]
    caches = [
        (path.name, found.group(0))
        for path in sources
        for found in re.finditer(r"@st\.cache_(?:data|resource)(?:\(.*?\))?\n", path.read_text(encoding="utf-8"))
    ]
    assert len(caches) >= 8
    assert [cache for cache in caches if "max_entries=" not in cache[1]] == []


def test_every_error_on_a_page_goes_through_the_one_function():
    for path in [ROOT / "streamlit_app.py", *ROOT.glob("pages/**/*.py")]:
        if path.name != "public.py":
            assert not re.search(r"\.(error|exception)\(", path.read_text(encoding="utf-8")), path


SHOWN = {
    "markdown", "caption", "info", "warning", "success", "error", "toast", "write", "badge", "progress", "button",
    "expander", "checkbox", "toggle", "metric", "title", "header", "popover", "status",
}  # fmt: skip
OUR_OWN = {
    "glossary()[word]", "remedy", "min(most, MAX_IMAGES)", "len(wanted.plan)", "came", "_command(shipped[name])",
    "status.state", "curve.label", "', '.join(places)", "len(changed)", "'s' * (len(changed) > 1)",
    "metric.format(real)", "torch.__version__", "largest", "done", "takes", "either(counts)", "len(GRID)", "seed",
    "settings[0].num_steps", "_read(result)", "MOMENTS", "request.settings.num_steps + 1", "why", "step.index",
    "paper", "url", "request.settings.num_steps", "left", "last", "MARKS[finding.kind]", "where", "title", "NO_CLASS",
    "ZERO_SNR", "', '.join((format(pair['ratio'], '.2f') for pair in pairs))", "', '.join(map(as_markdown, asked))",
    "classes_in_turn(classes)", "more", "', '.join(left_out[:MOST_SHOWN])", "line.schedule.num_timesteps", "num_steps",
    "text", "article(str(labels[0]))", "labels[0]", "', '.join(map(str, read(to_float(images))))",
    "settings.num_steps", "editing.INVERSION_ROUNDS", "len(images)", "COUNTED", "number", "count", "each",
    "figure.label", "lesson.heading", "lesson.minutes", "answers.done", "place.answers.done", "place.index + 1",
    "_verdict(place, card)", "exhibit.title", "exhibit.see", "exhibit.why", "exhibit.sign(side)", "side.capitalize()",
    "following", "after", "part", "'Also seen' if place else 'Likely cause'", "IMAGES", "len(signs)",
}  # fmt: skip
"""What pages put into Markdown as it is: numbers, our own words, and what was escaped where it came from."""


def test_whatever_is_put_into_markdown_is_escaped_or_our_own():
    put = set()
    for path in ROOT.glob("pages/**/*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in SHOWN:
                given = [*call.args, *(each.value for each in call.keywords if each.arg in ("help", "label", "text"))]
                parts = [part for each in given for part in ast.walk(each) if isinstance(part, ast.FormattedValue)]
                put |= {ast.unparse(part.value) for part in parts if not part.format_spec}
    escaped = re.compile(r"(foreign|as_markdown|as_code|span|plain)\(.*\)")  # plain: of the lessons' own files
    assert {each for each in put if not escaped.fullmatch(each)} - {"label"} <= OUR_OWN


def test_what_a_template_takes_for_markdown_or_for_code_is_named_here():
    templates = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("ddpm/media/templates/*.md.j2")}
    whole = "".join(templates.values())
    assert {*re.findall(r"(\S+) *\| *ours\b", whole)} == {"noise.source", "metric.meaning", "front", "runtime"}
    outside = re.sub(r"```.*?```|{% filter [^%]*fenced.*?{% endfilter", "", whole, flags=re.DOTALL)
    assert "| code_line" in whole
    assert "| argument" in whole
    assert not re.search(r"\| *(code_line|argument)\b", outside)


# -- the pages -----------------------------------------------------------------------------------------------------

TAMPERED = {
    "streamlit_app.py": {"seed": "9" * 5000, "home_digit": "77"},
    "pages/playground.py": {
        "play_model": "../../etc/passwd", "play_count": "64", "play_steps": "1000", "play_sampler": "Heun",
        "play_seed": "-1", "play_guidance": "9999", "play_rolled": "3.99",
    },
    "pages/ladder.py": {"ladder_model": "run:tiny", "ladder_most": "1000 steps", "ladder_seed": "x"},
    "pages/schedules.py": {
        "sched": ",".join(["linear:num_timesteps=99999999", *["cosine"] * 50]), "sched_steps": "99999999",
        "sched_source": "/etc", "sched_t": "nan",
    },
    "pages/train.py": {"train_from": "run:../../etc", "train_schedule": "cosine"},
    "pages/curves.py": {"curves_runs": "../../etc"},
    "pages/evaluate.py": {"eval_model": "run:tiny", "eval_second": "/etc/passwd", "eval_count": "10000"},
    "pages/lessons.py": {"lesson": "../../etc/passwd", "card": "9" * 5000, "answers": "<b>", "projector": "/etc"},
}  # fmt: skip


def texts(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.error, app.warning, app.info, app.code, app.text)
    return "\n".join(element.value for element in itertools.chain(*kinds))


@pytest.fixture
def quick_limit(monkeypatch):
    """So few evaluations that the pages are quick."""
    monkeypatch.setenv("DDPM_MAX_EVALUATIONS", "120")


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_under_a_tampered_link_and_tells_no_path(path, strangers, quick_limit, open_page, tiny_run):
    app = open_page(path, **TAMPERED.get(path, {}))
    said = texts(app)
    for folder in {str(ROOT), str(tiny_run.parent), str(Path.home()), "/tmp/", "/etc/"} - {"/"}:
        assert folder not in said.replace("../../etc", "")
    assert "Traceback" not in said


@pytest.mark.slow
def test_the_setting_that_is_wrong_is_said_on_the_page(monkeypatch, open_page):
    monkeypatch.setenv("DDPM_PUBLIC", "on")
    app = open_page("pages/curves.py")
    assert [error.value for error in app.error] == [
        "DDPM_PUBLIC must be 1 (public mode) or 0 (off, on a Space too), got 'on'"
    ]
    assert not app.title


@pytest.mark.slow
def test_the_playground_says_beforehand_how_many_images_are_possible(strangers, monkeypatch, open_page):
    monkeypatch.setenv("DDPM_MAX_EVALUATIONS", "60")
    app = open_page("pages/playground.py", play_model="digits", play_steps="5", play_draw="no class", play_count="12")
    assert "up to 12 images at once" in texts(app)
    assert not app.error
    before = app.session_state.play_shown
    app.number_input(key="play_count").set_value(13).run()
    assert not app.exception
    assert "13 images would take 65 network evaluations, and 60 are the most" in app.error[0].value
    assert app.button(key="play_generate").disabled
    assert app.session_state.play_shown == before


@pytest.mark.slow
@pytest.mark.parametrize("space", [None, "me/digits"])
def test_training_is_off_and_says_what_to_do(space, monkeypatch, open_page, tiny_run):
    monkeypatch.setenv(*(("SPACE_ID", space) if space else ("DDPM_PUBLIC", "1")))
    monkeypatch.setattr("pages.components.costs.measure_speed", lambda config: pytest.fail("it costs time"))
    shutil.copytree(tiny_run, tiny_run.parent / "other")
    app = open_page("pages/train.py")
    assert app.button(key="train_launch").disabled
    assert "Training is off on this public page" in app.info[0].value
    assert "python -m ddpm train --config my.yaml" in app.code[0].value
    links = [link.proto.url for link in app.get("link_button")]
    assert links == ([f"https://huggingface.co/spaces/{space}?duplicate=true"] if space else [])
    assert not [button.key for button in app.button if button.key.startswith(("train_Delete", "train_Resume"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "key"),
    [
        ("train", "train_launch"),
        ("train", "train_Delete for good_tiny"),
        ("train", "train_Resume_tiny"),
        ("evaluate", "eval_start"),
    ],
)
def test_a_click_on_a_button_that_is_not_there_starts_nothing(page, key, monkeypatch, open_page, tiny_run):
    monkeypatch.setattr("pages.components.costs.measure_speed", lambda config: 100.0)
    status = tiny_run / "status.json"
    status.write_text(status.read_text().replace("finished", "stopped"))
    app = open_page(f"pages/{page}.py", eval_model="digits")
    before = {path: path.stat().st_mtime for path in tiny_run.parent.rglob("*")}
    app.button(key=key).click()
    monkeypatch.setenv("DDPM_PUBLIC", "1")  # what a browser sends that was made to believe otherwise
    app.run()
    assert not app.exception
    assert {path: path.stat().st_mtime for path in tiny_run.parent.rglob("*")} == before


@pytest.mark.slow
def test_a_config_may_not_ask_for_a_folder_of_this_machine(strangers, open_page):
    app = open_page("pages/train.py")
    app.text_area[0].set_value("name: x\ndata: {dataset: folder, path: /etc, image_size: 32}\n").run()
    assert not app.exception
    assert any("this public page reads none" in error.value for error in app.error)
    app.text_area[0].set_value("name: x\n#" + "x" * 30_000).run()
    assert not app.exception
    assert any("more than 20,000 characters, which are the most" in error.value for error in app.error)


def test_a_few_lines_of_yaml_do_not_fill_the_memory():
    lines = ["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "name: *a39"]
    with pytest.raises(ConfigError, match=r"line 2, column 10: .*write out what \*a0"):
        config_from_yaml("\n".join(lines))


@pytest.mark.slow
def test_evaluations_are_shown_and_not_started(strangers, open_page, tiny_run):
    app = open_page("pages/evaluate.py", eval_model="digits")
    assert app.metric
    assert "Evaluations and reports are off" in app.info[-1].value
    assert "python -m ddpm eval --model digits" in app.code[-1].value
    assert [button.key for button in app.button if (button.key or "").startswith("eval_")] == []
    assert {button.proto.label for button in app.get("download_button")} == {"JSON", "CSV"}


@pytest.mark.slow
def test_a_page_that_is_off_says_so_and_is_not_linked(strangers, monkeypatch, open_page):
    from pages.components import frame

    assert [page.path for page in frame.PAGES if page.off_in_public] == ["pages/share.py"]
    closed = [page._replace(off_in_public="Because.") if page.label == "Curves" else page for page in frame.PAGES]
    monkeypatch.setattr(frame, "PAGES", closed)
    app = open_page("pages/curves.py")
    assert app.info[0].value.startswith("This page is off in public. Because.")
    assert len(app.info) == 1  # and nothing else of the page
    assert len(app.get("page_link")) == len(frame.shown_pages()) == len(closed) - 2


@pytest.mark.slow
def test_what_nobody_thought_of_shows_no_traceback(strangers, open_page):
    from streamlit import config

    open_page("pages/curves.py")
    assert config.get_option("client.showErrorDetails") == "none"
