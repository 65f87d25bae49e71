"""A Space's folder, served by its own Dockerfile's command, as huggingface.co shows it: in a frame on another site."""

import base64
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm.deploy.space import space_files, write_space
from tests.browser.conftest import serve
from tests.browser.driver import open_page

HOST = "someone-ddpm-lab.hf.space"
SANDBOX = (
    "allow-downloads allow-forms allow-modals allow-popups allow-same-origin allow-scripts"  # as on huggingface.co
)


@pytest.fixture(scope="module")
def space_url(chromium, tmp_path_factory):
    """The address of a Space of the model digits, in an environment with nothing of this one in it but its Python."""
    folder = tmp_path_factory.mktemp("space")
    write_space(space_files("digits"), folder / "app")
    *_, line = [line for line in (folder / "app" / "Dockerfile").read_text().splitlines() if line.startswith("CMD ")]

    def command(port: int) -> list[str]:
        return json.loads(line.removeprefix("CMD ").replace("8501", str(port)).replace("0.0.0.0", "127.0.0.1"))

    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "SPACE_ID": "someone/ddpm-lab",
        "SPACE_HOST": HOST,
        "DDPM_PUBLIC": "0",  # the owner's, with the Train page
        "OMP_NUM_THREADS": "1",
    }
    with serve(folder, command, folder / "app", env) as url:
        yield url


@pytest.fixture(scope="module")
def other_site():
    """Frames the address after the ``?`` on a page of another site: localhost is one, 127.0.0.1 is another."""

    class Frame(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            address = self.path.partition("?")[2]
            self.wfile.write(f'<iframe src="{address}" sandbox="{SANDBOX}" width=1200 height=800></iframe>'.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Frame) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def framed(browser, other_site):
    """Open an address in a frame on another site; the frame's locator."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def opened(address: str):
        page = context.new_page()
        page.goto(f"{other_site}?{address}")
        return page.frame_locator("iframe")

    yield opened
    context.close()


def put_file(frame, name: str, kind: str, content: bytes) -> None:
    field = frame.locator("[data-testid=stFileUploaderDropzoneInput]")
    field.wait_for(state="attached", timeout=60_000)
    field.set_input_files({"name": name, "mimeType": kind, "buffer": content})


def red_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "png")
    return buffer.getvalue()


def test_an_image_arrives_from_inside_the_frame(framed, space_url):
    frame = framed(f"{space_url}/schedules?sched=cosine&sched_source=your+own+image")
    put_file(frame, "red.png", "image/png", red_png())
    image = frame.get_by_alt_text("the image")
    image.wait_for(timeout=30_000)
    data = image.get_attribute("src").partition(",")[2]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == (255, 0, 0)).all()


def test_a_config_arrives_from_inside_the_frame(framed, space_url):
    frame = framed(f"{space_url}/train?train_from=a+YAML+file")
    put_file(frame, "mine.yaml", "application/yaml", b"name: framed\ndata:\n  dataset: digits\n  image_size: 8\n")
    frame.locator(".st-key-train_yaml textarea", has_text="name: framed").wait_for(timeout=30_000)


def test_the_frame_withholds_the_cookie_that_an_upload_needs_elsewhere(framed, app_url):
    """Otherwise the tests above would show nothing."""
    frame = framed(f"{app_url}/schedules?sched=cosine&sched_source=your+own+image")
    put_file(frame, "red.png", "image/png", red_png())
    frame.get_by_text("403").wait_for(timeout=30_000)


def test_the_folder_alone_draws_with_the_model_in_it(page, space_url):
    open_page(page, space_url)
    page.get_by_alt_text("From noise to an image, asked for a 3").wait_for(timeout=60_000)
    open_page(page, f"{space_url}/playground?play_steps=5&play_count=4")
    page.get_by_alt_text("4 generated images").wait_for(timeout=60_000)
    assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0
    page.get_by_text("A link to this picture").click()
    assert (
        page.locator("[data-testid=stCode]").first.inner_text().startswith(f"https://{HOST}/playground?play_model=dig")
    )
