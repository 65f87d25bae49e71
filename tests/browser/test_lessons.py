"""Lessons in a browser: every card of every lesson, by mouse, by keyboard alone, on a phone, on a projector, without a
server; and that answers are there again."""

import json
import shutil

import pytest
from playwright.sync_api import expect

from ddpm.deploy import lessons_page
from ddpm.deploy.static_page import ASSETS
from ddpm.lessons.content import lessons
from tests.browser.conftest import plain_server
from tests.browser.driver import open_page, wait_until, wait_until_idle

LETTERS = "abcd"


def answered(page, timeout=60_000):
    expect(page.get_by_text("What came.")).to_be_visible(timeout=timeout)
    wait_until_idle(page)
    assert page.locator("[data-testid=stAlert]").count() == page.get_by_text("That was the last card").count()


def pictures(page) -> int:
    return page.locator(".lesson img, .st-key-lesson_pictures .js-plotly-plot").count()


@pytest.mark.parametrize("name", lessons())
def test_a_lesson_is_gone_through_from_the_first_to_the_last_card(page, app_url, name):
    lesson = lessons()[name]
    open_page(page, f"{app_url}/lessons")
    page.locator(f".st-key-lesson_start_{name} button").click()
    for number, card in enumerate(lesson.cards, 1):
        expect(page.get_by_role("heading", name=card.heading)).to_be_visible()
        expect(page.get_by_text(f"Card {number} of {len(lesson.cards)}")).to_be_visible()
        run = page.get_by_role("button", name="Run the experiment")
        expect(run).to_be_disabled()
        assert pictures(page) == 0
        page.locator(".st-key-lesson_card").get_by_role("radiogroup").locator("label").nth(
            LETTERS.index(card.answer)
        ).click()
        run.click()
        answered(page)
        expect(page.get_by_text("Your guess held.")).to_be_visible()
        wait_until(page, lambda: pictures(page) > 0)
        if number < len(lesson.cards):
            page.get_by_role("button", name="Next card").click()
    expect(page.get_by_text("That was the last card")).to_be_visible()
    said = ".".join(card.answer for card in lesson.cards)
    assert f"lesson={name}&card={len(lesson.cards)}&answers={said}" in page.url


def test_a_lesson_by_keyboard_alone_and_the_answers_are_there_again(page, app_url):
    open_page(page, f"{app_url}/lessons?lesson=noise&card=5")

    def focused() -> str:
        return page.evaluate(
            "document.activeElement.closest('[data-testid=stRadio]') ? 'radio' : document.activeElement.innerText"
        )

    def tab_to(text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if text in focused():
                return
        raise AssertionError(f"{text} cannot be reached")

    tab_to("radio")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    wait_until_idle(page)
    expect(page.get_by_role("button", name="Run the experiment")).to_be_enabled()
    tab_to("Run the experiment")
    page.keyboard.press("Enter")
    answered(page)
    expect(page.get_by_text("It came otherwise than you guessed.")).to_be_visible()
    tab_to("Next card")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Fewer steps, same β")).to_be_visible()
    wait_until_idle(page)

    open_page(page, f"{app_url}/lessons")  # a session without a link: from what the browser remembers
    expect(page.get_by_text("15 minutes, 6 cards, 1 done")).to_be_visible()
    page.get_by_role("button", name="Forget my answers").first.click()
    page.get_by_role("button", name="Forget them all").click()
    expect(page.get_by_text("1 done")).to_have_count(0)
    wait_until_idle(page)
    open_page(page, f"{app_url}/lessons")
    expect(page.get_by_text("1 done")).to_have_count(0)


def test_a_card_is_asked_again_after_a_rehearsal_and_a_wrong_link_is_told(page, app_url):
    open_page(page, f"{app_url}/lessons?lesson=noise&card=1&answers=-.-.b.-.-.-")
    page.get_by_role("button", name="Skip, just show me").click()
    answered(page)
    page.get_by_role("button", name="Ask this card again").click()
    expect(page.get_by_role("button", name="Run the experiment")).to_be_disabled()
    expect(page.get_by_text("Card 1 of 6 · 1 done")).to_be_visible()
    wait_until_idle(page)
    open_page(page, f"{app_url}/lessons?lesson=noise&card=3&answers=-.-.-.-.-.-")  # though the browser remembers one
    expect(page.get_by_text("Card 3 of 6 · 0 done")).to_be_visible()
    open_page(page, f"{app_url}/lessons?lesson=zzz&card=99&answers=q.q")
    wait_until_idle(page)
    expect(page.locator("[data-testid=stAlert]")).to_contain_text("unknown lesson 'zzz'")


def test_a_link_opens_a_card_with_its_answers_on_a_phone_and_the_sheet_is_made(page, app_url):
    page.set_viewport_size({"width": 420, "height": 900})
    open_page(page, f"{app_url}/lessons?lesson=noise&card=1&answers=b.a.-.-.-.x")
    expect(page.get_by_text("Card 1 of 6 · 3 done")).to_be_visible()
    answered(page)
    wait_until(page, lambda: pictures(page) == 5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    widths = page.locator(".lesson img").evaluate_all(
        "images => images.map((one) => one.getBoundingClientRect().width)"
    )
    assert min(widths) > 90
    page.get_by_text("Answer sheet", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML", exact=True).click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.count("data:image/png") == 5 + 3 + 3 + 3  # pictures of three cards, and their formulas
    assert "Your answer: b; what came is a" in text


def test_a_projector_has_no_sidebar_and_larger_type_on_every_page(page, app_url):
    open_page(page, f"{app_url}/lessons?lesson=noise&card=1&projector=on")
    expect(page.locator("[data-testid=stSidebar]")).to_be_hidden()
    size = page.locator(".st-key-lesson_card p").first.evaluate(
        "(element) => parseFloat(getComputedStyle(element).fontSize)"
    )
    assert size >= 22
    page.get_by_role("button", name="Leave projector mode").click()
    expect(page.locator("[data-testid=stSidebar]")).to_be_visible()
    open_page(page, f"{app_url}/schedules?projector=on")
    expect(page.locator("[data-testid=stSidebar]")).to_be_hidden()
    expect(page.get_by_role("button", name="Leave projector mode")).to_be_visible()


def test_the_lessons_without_a_server(page, tmp_path, monkeypatch):
    only = {name: lessons()[name] for name in ("noise", "train")}  # whose pictures are quick
    monkeypatch.setattr(lessons_page, "lessons", lambda: only)
    files = shutil.copytree(ASSETS, tmp_path / "page")
    (files / "lessons.json").write_bytes(lessons_page.lessons_json({"mnist"}))
    (files / "model.json").write_text(json.dumps({"links": {}, "version": "x", "offline": []}))
    page.set_viewport_size({"width": 420, "height": 900})
    with plain_server(files, tmp_path) as url:
        page.goto(f"{url}/lessons.html")
        page.get_by_role("button", name="Start").last.click()
        for number, card in enumerate(only["train"].cards, 1):
            expect(page.get_by_role("heading", name=card.heading)).to_be_visible()
            page.locator(".choices button").nth(LETTERS.index(card.answer)).click()
            expect(page.get_by_text("Your guess held.")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            if number < len(only["train"].cards):
                page.get_by_role("button", name="Next card").press("Enter")
        link = page.url
        page.goto(f"{url}/lessons.html")
        expect(page.get_by_text("15 minutes, 5 cards, 5 done")).to_be_visible()
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Forget my answers").click()
        expect(page.get_by_text("5 done")).to_have_count(0)
        page.goto(link.replace("card=5", "card=77").replace("answers=b", "answers=q"))
        expect(page.get_by_role("alert")).to_contain_text("The link asks for card=77; right would be 1 to 5.")
        expect(page.get_by_role("alert")).to_contain_text("The link asks for answers=q.")
        page.goto(link)
        expect(page.get_by_text("Your guess held.")).to_be_visible()
