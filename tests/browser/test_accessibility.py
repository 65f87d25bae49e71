"""axe-core on every page, in light and dark: nothing found in what is ours."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.driver import open_page
from tests.browser.test_app import PAGES

# Streamlit's own, by rule: where in its markup, and what is wrong there.
STREAMLITS: dict[str, str] = {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_of_ours(page, app_url, name, scheme):
    page.emulate_media(color_scheme=scheme)
    open_page(page, f"{app_url}/{name}")
    expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)
    found = [
        f"{violation['id']}: {node['target']} {node['html'][:200]}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
        if violation["id"] not in STREAMLITS
    ]
    assert not found, "\n".join(found)
