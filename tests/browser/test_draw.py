"""The canvas of the Draw page: a mouse, a finger and the keyboard leave the strokes that were meant."""

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from ddpm.media.strokes import Stroke, read_strokes
from tests.browser.driver import open_page, wait_until, wait_until_idle

EMPTY = "draw?draw_model=digits&draw_strokes=0&draw_class=3"


def strokes_of(page) -> list[Stroke]:
    (text,) = parse_qs(urlsplit(page.url).query).get("draw_strokes", [""])
    return read_strokes("" if text == "0" else text)


def canvas_of(page):
    canvas = page.get_by_label("Sketch:")
    canvas.scroll_into_view_if_needed()
    return canvas, canvas.bounding_box()


def at(box, x: float, y: float) -> tuple[float, float]:
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def has(page, count: int) -> None:
    wait_until(page, lambda: len(strokes_of(page)) == count)
    wait_until_idle(page)


def test_a_mouse_draws_undoes_and_clears_and_the_answer_follows(page, app_url):
    open_page(page, f"{app_url}/{EMPTY}")
    answer = page.get_by_alt_text("4 answers")
    before = answer.get_attribute("src")
    for y in (0.3, 0.7):
        canvas, box = canvas_of(page)
        page.mouse.move(*at(box, 0.2, y))
        page.mouse.down()
        page.mouse.move(*at(box, 0.8, y), steps=10)
        page.mouse.up()
        wait_until_idle(page)
    has(page, 2)
    first, second = strokes_of(page)
    for stroke, y in ((first, 300), (second, 700)):
        assert abs(stroke.points[0][0] - 200) < 10
        assert abs(stroke.points[-1][0] - 800) < 10
        assert max(abs(point[1] - y) for point in stroke.points) < 10
    expect(canvas).to_have_attribute("aria-label", "Sketch: 2 strokes. Arrow keys move the pen, Space puts it down and "
                                     "lifts it, Control Z undoes, Delete clears.")  # fmt: skip
    wait_until(page, lambda: answer.get_attribute("src") != before)
    wait_until_idle(page)
    page.reload()  # the link brings the strokes back
    expect(page.get_by_label("Sketch: 2 strokes")).to_be_visible()
    wait_until_idle(page)
    page.get_by_role("button", name="Undo").click()
    has(page, 1)
    assert strokes_of(page) == [first]
    page.get_by_role("button", name="Clear").click()
    has(page, 0)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()


def test_the_keyboard_draws(page, app_url):
    open_page(page, f"{app_url}/{EMPTY}")
    canvas, _ = canvas_of(page)
    canvas.focus()
    for key in ("ArrowLeft", " ", "ArrowDown", "ArrowDown", " ", "ArrowUp", " ", "ArrowRight", " "):
        page.keyboard.press(key)
    has(page, 2)
    assert [stroke.points for stroke in strokes_of(page)] == [
        ((475, 500), (475, 525), (475, 550)),
        ((475, 525), (500, 525)),
    ]
    page.keyboard.press("Control+z")
    has(page, 1)
    page.keyboard.press("Delete")
    has(page, 0)


def test_a_finger_draws_on_a_phone(browser, app_url):
    page = browser.new_context(viewport={"width": 420, "height": 840}, has_touch=True).new_page()
    open_page(page, f"{app_url}/{EMPTY}")
    _, box = canvas_of(page)
    assert box["width"] <= 420
    page.touchscreen.tap(*at(box, 0.5, 0.25))
    has(page, 1)
    (dot,) = strokes_of(page)
    assert len(dot.points) == 1
    assert abs(dot.points[0][0] - 500) < 10
    assert abs(dot.points[0][1] - 250) < 10
    page.context.close()
