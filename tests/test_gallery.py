"""Pictures are drawn once for all visitors, kept within a bound, and those that pages open with come with the app."""

import base64
import io
import re
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm.evaluation.ladder import Climbed, Rung, climb
from ddpm.media.images import to_uint8
from ddpm.models import load_model
from pages.components import gallery, opening, shelf
from pages.components.gallery import Pace, kept, picture_of, shown_of
from pages.components.opening import opening_picture, opening_requests, write_opening_picture
from pages.components.sampling import Request, run
from pages.components.shelf import Shelf


@pytest.fixture(autouse=True)
def empty_shelf(monkeypatch):
    monkeypatch.setattr(gallery, "_PICTURES", Shelf(gallery.MOST_BYTES, lambda result: result.size))
    monkeypatch.setattr(shelf, "POLL", 0.01)


def in_threads(count: int, work) -> list:
    """What ``work`` returns, or the error that it raises, in as many threads at once."""
    results = [None] * count

    def one(i: int) -> None:
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_ten_who_ask_at_once_share_one_making_and_see_how_it_goes():
    things, made, seen = Shelf(1000, len), [], [set() for _ in range(10)]

    def make(tell):
        made.append(threading.get_ident())
        for step in range(5):
            tell(step)
            time.sleep(0.05)
        return "thing"

    found = in_threads(10, lambda i: things.get_or_make("key", make, seen[i].add))
    assert len(made) == 1
    assert {id(thing) for thing in found} == {id(found[0])}
    assert sum(4 in steps for steps in seen) == 9  # all but the maker
    assert things.get("key") == "thing"


def test_where_the_maker_gives_up_the_next_one_makes_it():
    things, made = Shelf(1000, len), []

    def make(tell):
        made.append(1)
        time.sleep(0.1)
        if len(made) == 1:
            raise ConnectionError("this visitor has gone")
        return "thing"

    found = in_threads(4, lambda i: things.get_or_make("key", make, lambda told: None))
    assert sorted(map(str, found)) == ["thing", "thing", "thing", "this visitor has gone"]
    assert len(made) == 2


def test_who_stops_waiting_leaves_the_maker_alone():
    things, going = Shelf(1000, len), threading.Event()

    def make(tell):
        going.set()
        time.sleep(0.2)
        return "thing"

    def leave(told):
        raise ConnectionError("stopped")

    def ask(i):
        if i:
            going.wait(10)
        return things.get_or_make("key", make, leave)

    assert list(map(str, in_threads(2, ask))) == ["thing", "stopped"]


def test_what_was_not_asked_for_longest_goes_first_and_the_newest_stays():
    things = Shelf(10, len)

    def put(key: str, size: int) -> None:
        things.get_or_make(key, lambda tell: "x" * size, lambda told: None)

    put("a", 4), put("b", 4)
    things.get("a")
    put("c", 4)
    assert [things.get(key) is not None for key in "abc"] == [True, False, True]
    put("large", 50)
    assert len(things) == 1
    assert things.get("large")


@pytest.mark.slow
def test_a_picture_is_that_of_the_weights_and_the_request_and_drawn_once(random_model, monkeypatch):
    drawn = []
    monkeypatch.setattr(gallery, "run", lambda request, *rest: drawn.append(request) or run(request, *rest))
    first, other = random_model(seed=0), random_model(seed=1)
    request = Request("run:tiny", 2, (3,), first.config.sampling, 0)
    result = picture_of(request, first)
    assert picture_of(request, first) is result
    assert picture_of(request, random_model(seed=0)) is result  # loaded anew, the same
    assert not torch.equal(picture_of(request, other).trajectory.images, result.trajectory.images)
    assert len(drawn) == 2
    assert kept(shown_of(request, first)) is result
    assert result.size >= result.trajectory.x_t.nbytes * 3


@pytest.mark.slow
def test_a_picture_written_for_a_page_to_open_with_is_read_back_to_the_last_bit(random_model, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "FOLDER", tmp_path)
    model = random_model()
    drawn = run(Request("x", 3, (1, 2), model.config.sampling, 5), model)
    assert opening_picture(drawn.request, model) is None
    write_opening_picture(drawn, model)
    read = opening_picture(drawn.request, model)
    assert read.seconds is None
    assert read.trajectory.timesteps == drawn.trajectory.timesteps
    for name in ("x_t", "x0", "eps", "change"):
        assert torch.equal(getattr(read.trajectory, name), getattr(drawn.trajectory, name)), name
    assert read.frames == drawn.frames
    assert (read.probabilities is None) == (drawn.probabilities is None)
    assert opening_picture(Request("x", 3, (1, 2), model.config.sampling, 6), model) is None
    assert opening_picture(drawn.request, random_model(seed=1)) is None


@pytest.mark.slow
def test_a_damaged_file_of_an_opening_picture_costs_the_time_to_draw_it_alone(random_model, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "FOLDER", tmp_path)
    model = random_model()
    drawn = run(Request("x", 1, None, model.config.sampling, 5), model)
    path = write_opening_picture(drawn, model)
    for damaged in (b"", path.read_bytes()[:-40], b"\0" + path.read_bytes()[1:]):
        path.write_bytes(damaged)
        assert torch.equal(picture_of(drawn.request, model).trajectory.images, drawn.trajectory.images)
        gallery._PICTURES._things.clear()


@pytest.mark.slow
def test_the_pictures_of_a_fresh_copy_are_those_that_its_model_draws():
    """Where this fails after a change of the model, its settings or the sampler: python -m pages.components.opening."""
    model = load_model("mnist")
    requests = opening_requests(model)
    for request in requests:
        shipped, drawn = opening_picture(request, model), run(request, model)
        assert shipped is not None, "the shipped picture is of another model, or of another request"
        assert shipped.trajectory.timesteps == drawn.trajectory.timesteps
        # Equal to the pixel where the kernels sum in the same order; elsewhere single values round otherwise.
        off = (shipped.trajectory.x0.int() - drawn.trajectory.x0.int()).abs()
        assert off.max() <= 1
        assert (off > 0).float().mean() < 1e-3
        assert shipped.probabilities[-1].argmax(-1).equal(drawn.probabilities[-1].argmax(-1))
    files = list(opening.FOLDER.glob("*.npz.xz"))
    assert len(files) == len(requests) + 1  # the ladder
    assert sum(path.stat().st_size for path in files) < 500_000


@pytest.mark.slow
def test_the_pages_open_with_the_pictures_that_came_with_the_app(open_page, monkeypatch):
    monkeypatch.setattr(gallery, "run", lambda *arguments: pytest.fail("drawn, though it came with the app"))
    home = open_page("streamlit_app.py")
    assert any("It came with the app" in caption.value for caption in home.caption)
    playground = open_page("pages/playground.py")
    assert playground.metric[0].value == "–"


@pytest.mark.slow
def test_a_session_keeps_what_it_asked_for_and_no_picture(open_page, tiny_run):
    app = open_page("pages/playground.py", play_model="run:tiny")
    assert kept(app.session_state.play_shown).request == app.session_state.play_shown.request
    gallery._PICTURES._things.clear()  # others have taken its place
    app.run()
    assert not app.exception
    assert kept(app.session_state.play_shown)
    assert app.metric[0].value.endswith(" s")


def test_the_time_left_is_told_once_it_is_known():
    pace = Pace()
    assert pace.left(0.02, 100.0) == ""  # "about 0 s left" stood here, at the start of seven seconds
    assert pace.left(0.02, 100.2) == ""
    assert pace.left(0.10, 100.7) == ""
    assert pace.left(0.27, 102.0) == ", about 6 s left"
    assert pace.left(0.99, 108.0) == ", about 1 s left"


@pytest.mark.slow
def test_the_ladder_page_opens_with_a_ladder_that_its_model_climbs(open_page, monkeypatch):
    app = open_page("pages/ladder.py")
    (table,) = (html.value for html in app.html if 'class="ladder" ' in html.value)
    assert "ground truth" in table
    assert 'class="empty"' not in table
    assert not app.info
    model, shown = load_model("mnist"), opening.opening_ladder()
    assert shown.complete
    for event in climb(model, [rung for rung in shown.plan if rung.num_steps <= 5], 1, labels=[3], seed=0):
        if isinstance(event, Climbed):
            came = shown.climbed[event.rung]
            assert (to_uint8(came.images).int() - to_uint8(event.images).int()).abs().max() <= 1
            assert came.evaluations == event.evaluations
    app.toggle(key="ladder_differences").set_value(True).run()
    (compared,) = (html.value for html in app.html if 'class="ladder" ' in html.value)
    ours = shown.climbed[Rung("ddim", 50)].images
    wanted = ((ours - shown.climbed[shown.plan[-1]].images).abs() * 127.5).round()
    png = re.search(r'alt="DDIM, 50 steps[^>]*base64,([^"]*)"', compared)[1]
    assert (torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(png))))) - wanted[0, 0]).abs().max() <= 1
    app.number_input(key="ladder_seed").set_value(4).run()
    assert "Climb** draws one image in" in app.info[0].value
    assert "came with the app" in app.info[0].value
    monkeypatch.setenv("DDPM_PUBLIC", "1")  # where a smaller ladder is climbed
    assert opening.opening_ladder().columns[-2:] == [50, 500]


def test_a_damaged_ladder_is_not_shown_and_said_in_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(opening, "FOLDER", tmp_path)
    (tmp_path / opening.LADDER).write_bytes(b"no ladder")
    assert opening.opening_ladder() is None
