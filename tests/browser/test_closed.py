"""What is closed is looked into too: every expander, tab, popover and tooltip of every page, in one pass."""

from playwright.sync_api import TimeoutError as Late
from playwright.sync_api import expect

from tests.browser.conftest import serve
from tests.browser.driver import open_page, unfold, wait_until_idle
from tests.browser.test_app import PAGES

# What is wrong in the part of the page that is seen: formulas that KaTeX refused or nobody took for one, and boxes with
# nothing in them. Code and what visitors type may hold any sign.
LOOK = """(part) => {
  const found = [...part.querySelectorAll('.katex-error')].map((e) => 'refused by KaTeX: ' + e.textContent);
  const read = part.cloneNode(true);
  read.querySelectorAll('.katex, code, pre, textarea, input, style, script, svg').forEach((e) => e.remove());
  const variable = /\\$[A-Z][A-Z_]{3,}/g;  // of the environment
  const stray = read.textContent.replace(variable, '').match(/.{0,40}[$\\\\].{0,40}/g);
  if (stray) found.push(...stray.map((text) => 'stray: ' + text));
  const full = 'img, svg, canvas, input, textarea, button, table, iframe, [data-testid=stDataFrame]';
  if (!part.textContent.trim() && !part.querySelector(full)) found.push('empty: ' + part.outerHTML.slice(0, 200));
  return found;
}"""


# The same of an icon's tooltip, once it is there.
TOOLTIP = f"""(icon) => {{
  const tip = document.getElementById(icon.getAttribute('aria-describedby'));
  return tip && ({LOOK})(tip);
}}"""


class Looker:
    """Opens what is closed on a page, and collects what is wrong there."""

    def __init__(self, page, name: str):
        self.page, self.name = page, name
        self.opened, self.wrong = 0, []

    def look(self, part, what: str) -> None:
        part.wait_for()
        self.note(what, part.evaluate(LOOK))

    def note(self, what: str, found: list[str]) -> None:
        self.opened += 1
        self.wrong += [f"{self.name}, {what}: {complaint}" for complaint in found]

    def everything(self) -> None:
        for expander in self.page.get_by_test_id("stExpander").all():
            unfold(expander)
        wait_until_idle(self.page)
        self.look(self.page.get_by_test_id("stApp"), "the page")
        for expander in self.page.get_by_test_id("stExpanderDetails").all():
            self.look(expander, "expander")
        self.tooltips()
        for tab in self.page.get_by_role("tab").all():
            tab.click()
            wait_until_idle(self.page)
            panel = self.page.locator("[role=tabpanel]:visible").first
            self.look(panel, f"tab {tab.inner_text()}")
            self.tooltips(panel)
        for popover in self.page.get_by_test_id("stPopover").all():
            popover.get_by_role("button").first.click()
            self.look(self.page.get_by_test_id("stPopoverBody"), "popover")
            self.page.keyboard.press("Escape")

    def tooltips(self, part=None) -> None:
        """Told of a pointer over the next icon, a tooltip mostly gives way at once; for a mouse it takes its time."""
        for icon in (part or self.page).locator("[data-testid=stTooltipHoverTarget]:visible").all():
            icon.dispatch_event("pointerover", {"pointerType": "mouse"})
            try:
                found = self.page.wait_for_function(TOOLTIP, arg=icon.element_handle(), timeout=1_000)
            except Late:
                icon.hover(force=True)
                found = self.page.wait_for_function(TOOLTIP, arg=icon.element_handle())
            self.note("tooltip", found.json_value())
        self.page.mouse.move(0, 0)
        self.page.keyboard.press("Escape")
        expect(self.page.get_by_test_id("stTooltipContent")).to_have_count(0)


def test_nothing_that_is_closed_holds_raw_latex_or_an_empty_box(page, chromium, tiny_run, tmp_path):
    page.set_viewport_size({"width": 1280, "height": 2500})
    lookers = []
    with serve(tmp_path) as url:
        for name in PAGES:
            open_page(page, f"{url}/{name}")
            page.locator("[data-testid=stSkeleton]").last.wait_for(state="detached")
            lookers.append(Looker(page, name or "home"))
            lookers[-1].everything()
        page.goto("about:blank")
    wrong = [complaint for looker in lookers for complaint in looker.wrong]
    assert not wrong, "\n".join(wrong)
    opened = {looker.name: looker.opened for looker in lookers}
    assert all(count >= 2 for count in opened.values()), opened
    assert sum(opened.values()) > 100, opened
