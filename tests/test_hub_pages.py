"""Hub models on the pages, without a browser: a link downloads nothing until one clicks, and names one commit."""

import pytest

from ddpm.models import load_model
from ddpm.storage.layouts import CONFIG, WEIGHTS
from pages.components import models

SMALL = {"play_count": "2", "play_steps": "5"}


@pytest.fixture
def commit(hub, tiny_run, tmp_path):
    """A model on the Hub, at its commit."""
    load_model("run:tiny").save(tmp_path / "export")
    models._listed.clear()
    return "hf://me/tiny@" + hub.add("me/tiny", {name: (tmp_path / "export" / name).read_bytes()
                                                 for name in (WEIGHTS, CONFIG)})  # fmt: skip


def downloads(hub) -> list[str]:
    return [asked for asked in hub.requests if "/resolve/" in asked]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["play_model", "ladder_model", "eval_model"])
def test_a_link_to_a_hub_model_says_what_it_is_and_downloads_nothing(hub, commit, open_page, key):
    name = {"play": "playground", "ladder": "ladder", "eval": "evaluate"}[key.partition("_")[0]]
    app = open_page(f"pages/{name}.py", **{key: "hf://me/tiny"})
    assert any("me/tiny" in text.value and "not yet on this machine" in text.value for text in app.markdown)
    assert any(f"`{commit[-40:-33]}`" in text.value and " MB" in text.value for text in app.caption)
    assert [button.label for button in app.button] == ["Download"]
    assert not downloads(hub)


@pytest.mark.slow
def test_a_click_fetches_it_and_everything_after_names_its_commit(hub, commit, open_page):
    app = open_page("pages/playground.py", play_model="hf://me/tiny", **SMALL)
    app.button(key="play_model_download").click().run()
    assert not app.exception
    assert {asked.rpartition("/")[2] for asked in downloads(hub)} == {WEIGHTS, CONFIG}
    assert app.selectbox(key="play_model").value == commit
    assert commit in app.selectbox(key="play_model").options
    link, command, python = (block.value for block in app.code)
    assert f"play_model=hf%3A%2F%2Fme%2Ftiny%40{commit[-40:]}&" in link
    assert f"--model {commit}" in command
    assert f"ddpm.load_model('{commit}')" in python
    # Whoever has it opens the link without a question, and without the Hub.
    hub.requests.clear()
    again = open_page("pages/playground.py", play_model=commit, **SMALL)
    assert again.code[1].value == command
    assert hub.requests == []


@pytest.mark.slow
def test_a_name_for_a_commit_that_is_here_is_replaced_by_the_commit(hub, commit, open_page):
    models.fetch_model(commit)
    hub.requests.clear()
    app = open_page("pages/playground.py", play_model="hf://me/tiny", **SMALL)
    assert app.selectbox(key="play_model").value == commit
    assert not downloads(hub)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("hf://me/none", "cannot look up hf://me/none: there is no me/none, or it is private"),
        ("hf://../..", "isn't a valid Hub name: expected user/name"),
        ("hf://me/tiny@gone", "me/tiny has no such revision"),
    ],
)
def test_a_link_to_what_is_not_on_the_hub_says_so(hub, commit, open_page, asked, said):
    app = open_page("pages/playground.py", play_model=asked)
    assert said in app.error[0].value
    assert app.selectbox(key="play_model").value == asked


@pytest.mark.slow
def test_a_page_takes_no_path_and_no_unknown_name(hub, tiny_run, open_page):
    for asked in (str(tiny_run), "../../etc/passwd", "nobody"):
        app = open_page("pages/playground.py", play_model=asked, **SMALL)
        assert f"asks for the model {asked!r}, which is not here" in app.warning[0].value
        assert app.selectbox(key="play_model").value == "mnist"


@pytest.mark.slow
def test_a_name_that_is_typed_is_asked_for(hub, commit, open_page):
    app = open_page("pages/playground.py", **SMALL)
    app.text_input(key="play_model_named").set_value(" hf://me/tiny ").run()
    assert app.selectbox(key="play_model").value == "hf://me/tiny"
    assert [button.label for button in app.button] == ["Download"]
    app.text_input(key="play_model_named").set_value("/etc/passwd").run()
    assert app.error[0].value == "'/etc/passwd' must look like hf://user/repo or hf://user/repo@revision"
    assert app.selectbox(key="play_model").value == "hf://me/tiny"
    app.selectbox(key="play_model").select("digits").run()
    assert not app.error
    assert app.code  # a picture again
    assert not downloads(hub)


@pytest.mark.slow
def test_a_download_that_fails_says_why_and_can_be_tried_again(hub, commit, open_page):
    from tests.hub_server import Fault

    app = open_page("pages/playground.py", play_model="hf://me/tiny", **SMALL)
    hub.faults.append(Fault("GET .*/resolve/", 503))
    app.button(key="play_model_download").click().run()
    assert "the Hub failed with 503: try again later" in app.error[0].value
    hub.faults.clear()
    app.button(key="play_model_download").click().run()
    assert app.selectbox(key="play_model").value == commit


@pytest.mark.slow
def test_a_bad_name_costs_neither_the_picture_nor_the_model_one_had_and_only_the_newest_error_stands(
    hub, commit, open_page
):
    app = open_page("pages/playground.py", play_model="digits", **SMALL)
    shown = app.session_state.play_shown
    for typed, said in (("hf://me/none", "there is no me/none"), ("me/tiny", "must look like hf://"),
                        ("hf://me/nobody", "there is no me/nobody")):  # fmt: skip
        app.text_input(key="play_model_named").set_value(typed).run()
        assert [said in error.value for error in app.error] == [True]
        assert app.selectbox(key="play_model").value == "digits"
        assert app.session_state.play_shown == shown
        assert app.code  # the picture, its link and its recipes
    app.run()
    assert not app.error
