"""The Share page without a browser: what would be sent, what was, and what becomes of the visitor's token."""

import io
import zipfile
from functools import partial

import pytest
import torch

from ddpm.deploy.space import PLAN, space_files
from ddpm.errors import DDPMError
from ddpm.models import load_model
from pages.components.share import MODEL, PAGE_MADE, SPACE, STATIC
from tests.hub_server import TOKEN, Fault


@pytest.fixture
def share_page(open_page, output_dir):
    return partial(open_page, "pages/share.py", share_model="digits", share_as=MODEL)


def push(app, repo_id: str, token: str, **options):
    app.text_input(key="share_repo").input(repo_id)
    next(field for field in app.text_input if field.label == "Your access token").input(token)
    if options.get("private"):
        app.toggle(key="share_private").set_value(True)
    app.button[0].click().run()
    assert not app.exception
    return app


def everything(app) -> str:
    """All that the page and its session hold, as text."""
    return " ".join([*map(str, app.main), *map(str, app.sidebar), str(app.session_state), str(dict(app.query_params))])


@pytest.mark.slow
def test_the_files_of_a_model_are_listed_before_it_is_sent(share_page, hub):
    app = share_page()
    assert {*app.dataframe[0].value["File"]} == {
        "model.safetensors", "config.yaml", "evaluation_results.json", "README.md", "samples.png",
    }  # fmt: skip
    assert app.dataframe[0].value["Size"][0] == "4.3 MB"
    assert hub.requests == []
    assert not app.info


@pytest.mark.slow
def test_the_page_opens_with_ones_own_newest_model_and_a_page_for_anyone(open_page, tiny_run, hub):
    app = open_page("pages/share.py")
    assert app.segmented_control(key="share_as").value == STATIC
    assert app.code[0].value == "python -m ddpm static --model run:tiny --push user/name"
    assert "space --host pages --model run:tiny" in app.code[1].value


@pytest.mark.slow
def test_the_page_for_anyone_is_made_on_a_click(open_page, monkeypatch):
    monkeypatch.setattr("ddpm.deploy.static_page._runtime_files", lambda archive: {})
    monkeypatch.setattr("ddpm.deploy.static_page.lessons_json", lambda models: b"[]")
    app = open_page("pages/share.py", share_model="digits")
    assert not app.get("download_button")
    app.button(key="share_make").click().run()
    assert not app.exception
    assert app.get("download_button")[0].proto.label.startswith("Download .zip, ")
    _, content = app.session_state[PAGE_MADE]
    assert {"index.html", "model.onnx", "plane.html"} <= {*zipfile.ZipFile(io.BytesIO(content)).namelist()}

    def refuse(archive):
        raise DDPMError("npm is not here: install Node.js")

    monkeypatch.setattr("ddpm.deploy.static_page._runtime_files", refuse)
    app = open_page("pages/share.py", share_model="digits")
    app.button(key="share_make").click().run()
    assert app.error[0].value == "npm is not here: install Node.js"


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_the_form_names_the_model_which_is_private_where_it_learned_from_ones_own_images(own, open_page, tiny_run, hub):
    if own:
        weights = tiny_run / "ckpts" / "ema.pt"
        content = torch.load(weights, weights_only=True)
        content["config"]["data"] |= {"dataset": "folder", "path": "pets", "class_names": list("abcdefghij")}
        torch.save(content, weights)
    app = open_page("pages/share.py", share_model="run:tiny", share_as=MODEL)
    assert app.button[0].label == r"Push run\:tiny"
    assert next(field for field in app.toggle if field.label == "Private").value is own


@pytest.mark.slow
def test_the_files_of_a_space_are_listed_and_its_price_is_said(share_page, hub):
    app = share_page(share_as=SPACE)
    assert {*app.dataframe[0].value["File"]} == space_files("digits").keys()
    assert app.info[0].value == PLAN
    assert hub.requests == []


@pytest.mark.slow
def test_a_model_is_pushed_with_the_token_of_the_visitor_which_is_then_gone(open_page, hub, tiny_run, monkeypatch):
    app = push(open_page("pages/share.py", share_model="run:tiny", share_as=MODEL), "me/tens", TOKEN, private=True)
    assert f"{hub.url}/me/tens" in app.success[0].value
    assert hub.repos["me/tens"].private
    assert {"model.safetensors", "config.yaml", "README.md", "samples.png"} <= hub.repos["me/tens"].at("main")[1].keys()
    assert TOKEN not in everything(app)
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # it is private
    assert load_model("hf://me/tens").config == load_model("run:tiny").config


@pytest.mark.slow
def test_a_space_is_made_and_its_address_told(share_page, hub):
    app = push(share_page(share_as=SPACE), "me/lab", TOKEN)
    assert f"{hub.url}/spaces/me/lab" in app.success[0].value
    assert space_files("digits").keys() <= next(iter(hub.repos.values())).at("main")[1].keys()
    assert TOKEN not in everything(app)
    assert "me/lab" in everything(app)  # it looks everywhere
    app.segmented_control(key="share_as").set_value(MODEL).run()
    assert not app.success  # that was of the Space


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repo_id", "token", "fault", "said"),
    [
        ("me/lab", TOKEN, Fault("POST /api/repos/create", status=402, message="no plan"), PLAN),
        ("me/lab", TOKEN, Fault("POST /api/repos/create", status=401, message=f"no {TOKEN}"), "valid token"),
        ("me/lab", TOKEN, Fault("POST /api/spaces/me/lab/commit", cut=True), "the connection was cut"),
    ],
)
def test_what_goes_wrong_is_one_line_without_the_token(share_page, hub, monkeypatch, repo_id, token, fault, said):
    monkeypatch.setenv("HF_TOKEN", "hf_ofTheOwnerOfThisServer")  # which no visitor may use
    hub.faults.append(fault)
    app = push(share_page(share_as=SPACE), repo_id, token)
    assert said in app.error[0].value
    assert "\n" not in app.error[0].value
    assert not app.success
    assert TOKEN not in everything(app)


@pytest.mark.slow
def test_a_token_that_the_hub_does_not_know_is_said_before_samples_are_drawn(share_page, hub, monkeypatch):
    monkeypatch.setattr("pages.components.share.write_model_folder", lambda *_: pytest.fail("samples are drawn"))
    app = push(share_page(share_as=MODEL), "me/lab", "hf_wrongwrong")
    assert "valid token" in app.error[0].value
    assert hub.repos == {}


@pytest.mark.slow
@pytest.mark.parametrize("share_as", [MODEL, SPACE])
@pytest.mark.parametrize(
    ("repo_id", "token", "said"),
    [
        ("me/lab", "", "Type your own access token"),
        ("lab", TOKEN, "'lab' isn't a valid Hub name"),
        ("me/my lab", TOKEN, "'me/my lab' isn't a valid Hub name"),
        ("", TOKEN, "Enter a name"),
    ],
)
def test_what_is_wrong_in_the_form_is_said_before_any_work_and_the_token_stays(
    share_page, hub, monkeypatch, share_as, repo_id, token, said
):
    def too_early(*arguments):
        pytest.fail("samples are drawn for a name that is refused")

    monkeypatch.setattr("pages.components.share.write_model_folder", too_early)
    app = push(share_page(share_as=share_as), repo_id, token)
    assert said in app.error[0].value
    assert hub.requests == []
    assert next(field for field in app.text_input if field.label == "Your access token").value == token
    assert app.text_input(key="share_repo").value == repo_id
