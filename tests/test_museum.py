"""The museum: every exhibit's fault shows in its number, and the words fit what is shown."""

import pytest

from pages.components.museum.exhibits import MODELS, SIDES, exhibits
from pages.components.museum.faults import KINDS, first
from pages.components.museum.made import made


def test_every_fault_has_its_exhibit():
    assert exhibits().keys() == KINDS.keys()
    for exhibit in exhibits().values():
        for side in SIDES:
            assert exhibit.picture(side).startswith(b"\x89PNG")
    assert sum(path.stat().st_size for path in MODELS.rglob("*")) < 12e6


@pytest.mark.parametrize("kind", KINDS)
def test_the_wrong_one_fails_the_doctors_sign_and_the_right_one_passes(kind):
    cause, exhibit = KINDS[kind](first).cause, exhibits()[kind]
    for side in SIDES:
        for sign in made(kind, side).signs():
            assert sign.wrong == (side == "wrong" and sign.cause == cause)  # the fault is named first, and no other
            if sign.cause == cause:
                break
        assert sign.cause == cause
    assert exhibit.measured["wrong"]["signs"][0] == cause
    assert exhibit.measured["right"]["signs"] == []


def test_the_doctor_is_asked_on_a_page(open_page):
    app = open_page("pages/playground.py", play_model="digits", play_count="1", play_steps="2")
    app.button(key="play_doctor").click().run()
    (said,) = app.success
    assert said.value.startswith("No sign of a fault; ")
