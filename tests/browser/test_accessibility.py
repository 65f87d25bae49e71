"""axe-core on every page, in light and dark: nothing found in what is ours."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.driver import open_page
from tests.browser.test_app import PAGES

# Streamlit's own, by rule: where in its markup. It writes the values of sliders and chosen segments in the primary
# colour, and white on that colour in buttons: on a dark page no colour has a contrast of 4.5 in both places. Ours has
# it in the buttons, and 3.5 in these.
STREAMLITS = {"color-contrast": ("stSliderThumbValue", "data-selected")}


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
        if not any(place in str(node["target"]) for place in STREAMLITS.get(violation["id"], ()))
    ]
    assert not found, "\n".join(found)
