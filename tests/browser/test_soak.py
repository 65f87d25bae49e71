"""For hours, not for a commit: one visitor who has every page drawn again, hundreds of times. `make soak`."""

import os

import pytest

from tests.browser.conftest import serve, server_at
from tests.browser.driver import open_page, wait_until_idle
from tests.browser.test_app import PAGES

RERUNS, WARM_UP = 500, 50
GROWTH = 20e6  # bytes after the warm-up: less than one grid of images a run would leave

# Counts the runs of the script: a short one is over before a poll would see it.
COUNT = """() => {
  const app = document.querySelector('[data-testid=stApp]');
  window.runs = 0;
  new MutationObserver(all => { window.runs += all.filter(one => one.oldValue === 'running').length })
    .observe(app, {attributes: true, attributeFilter: ['data-test-script-state'], attributeOldValue: true});
}"""

pytestmark = pytest.mark.skipif(not os.environ.get("DDPM_SOAK"), reason="takes half an hour: make soak")


@pytest.mark.parametrize("name", PAGES)
def test_memory_and_threads_stay_flat_while_a_page_is_run_again_and_again(page, chromium, tmp_path, name):
    with serve(tmp_path) as url:
        server = server_at(url)
        open_page(page, f"{url}/{name}")
        page.evaluate(COUNT)
        memory = threads = 0
        while (runs := page.evaluate("window.runs")) < RERUNS:
            if not memory and runs >= WARM_UP:
                memory, threads = server.memory_info().rss, server.num_threads()
            page.locator("h1").click()  # no widget has the focus, which would take the key for itself
            page.keyboard.press("r")
            page.wait_for_timeout(50)
            wait_until_idle(page)
        print(f"{name or 'home'}: {memory / 1e6:.0f} -> {server.memory_info().rss / 1e6:.0f} MB")
        assert server.memory_info().rss - memory < GROWTH
        assert server.num_threads() <= threads + 2
        page.goto("about:blank")  # which misses no server
