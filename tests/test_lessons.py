"""Lessons: their files are sound, what they claim is what is drawn, links and answers are read back or refused."""

import json
import re
from urllib.parse import parse_qs

import pytest
import torch

from ddpm.config import DataConfig
from ddpm.data import load_dataset, to_float
from ddpm.deploy.lessons_page import lessons_json
from ddpm.errors import ConfigError
from ddpm.evaluation.classifier import classify
from ddpm.evaluation.results import find_results
from ddpm.lessons import kinds
from ddpm.lessons.answers import Answers
from ddpm.lessons.charts import _kept
from ddpm.lessons.content import FOLDER, TERM, lesson_named, lessons, read_lesson
from ddpm.lessons.experiments import draw, work_of
from ddpm.lessons.formula import formula_png
from ddpm.lessons.sheet import sheet_html, sheet_markdown
from ddpm.media.images import to_uint8
from ddpm.models import load_model
from ddpm.plane import sample_data
from ddpm.samplers import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.storage.places import shipped_histories
from ddpm.training.history import read_history
from pages.components.frame import PAGES, glossary

CARDS = [(lesson, card) for lesson in lessons().values() for card in lesson.cards]
MOST_WORK = 600  # network evaluations of a card: a second or less on two idle cores


def card_of(lesson: str, heading: str):
    return next(card for card in lessons()[lesson].cards if card.heading == heading)


# -- the files -----------------------------------------------------------------------------------------------------


def test_there_are_six_lessons_of_fifteen_minutes():
    assert [*lessons()] == ["noise", "undo", "ddim", "guidance", "quality", "train"]
    assert {lesson.minutes for lesson in lessons().values()} == {15}
    assert all(5 <= len(lesson.cards) <= 8 for lesson in lessons().values())
    for lesson in lessons().values():  # nobody can pass by choosing the same letter
        assert len({card.answer for card in lesson.cards}) > 1


def test_every_term_is_in_the_glossary_and_every_link_leads_to_a_page():
    for lesson, card in CARDS:
        assert set(card.words) <= glossary().keys(), f"{lesson.name}: {card.heading}"
        for visit in card.visits:
            assert f"pages/{visit.page}.py" in [page.path for page in PAGES]
        texts = (card.setup, card.question, card.came, card.why)
        assert not any("](" in TERM.sub("", text) for text in texts), card.heading
        assert work_of(card.experiment) <= MOST_WORK, card.heading


@pytest.mark.parametrize("formula", [card.formula for _, card in CARDS if card.formula])
def test_every_formula_can_be_drawn_without_latex(formula):
    assert formula_png(formula).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "answer: a",
            "answer: e",
            r"line \d+: cards.0: answer must be one of a, b, c, .*, got 'e'",
        ),
        ("heading: Half noise", "haeding: Half noise", "unknown key 'haeding': did you mean 'heading'"),
        ("kind: noised", "kind: noisy", "unknown kind of experiment 'noisy': did you mean 'noised'"),
        ("alpha_bar: [1, 0.9,", "alpha_bar: [much, 0.9,", "rows.0.alpha_bar.0: must be a valid number, got 'much'"),
        ("minutes: 15", "minutes: [", "not valid YAML"),
        ("      c: Noise as", "      a: Noise as", "cards.0: wrong must name letters of the other choices, got a"),
    ],
)
def test_a_fault_in_a_file_is_told_with_its_field(before, after, said, tmp_path):
    text = (FOLDER / "noise.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as error:
        read_lesson(tmp_path / "mine.yaml")
    assert str(error.value).startswith("mine.yaml")


def test_a_lesson_is_called_after_its_file(tmp_path):
    (tmp_path / "mine.yaml").write_bytes((FOLDER / "noise.yaml").read_bytes())
    assert read_lesson(tmp_path / "mine.yaml").name == "mine"
    with pytest.raises(ConfigError, match="unknown lesson 'nose': did you mean 'noise'"):
        lesson_named("nose")


# -- answers -------------------------------------------------------------------------------------------------------


def test_answers_are_read_back():
    answers = Answers.none(4).given(0, "b").given(3, "x")
    assert str(answers) == "b.-.-.x"
    assert Answers.read("b.-.-.x", (3, 2, 2, 4)) == answers
    assert answers.done == 2


@pytest.mark.parametrize("text", ["", "b", "b.-.-", "c.c.-.x", "b.-.-.X", "b.-.-.x.", "<b>.-.-.x", "a" * 9999])
def test_answers_that_the_lesson_does_not_offer_are_refused(text):
    with pytest.raises(ConfigError, match="answers") as error:
        Answers.read(text, (3, 2, 2, 4))
    assert len(str(error.value)) < 120


# -- what the cards claim ------------------------------------------------------------------------------------------


def test_what_is_said_of_schedules():
    linear, cosine = make_schedule("linear", 1000), make_schedule("cosine", 1000)
    assert linear.alpha_bar(500) == pytest.approx(0.078, abs=5e-4)
    assert cosine.alpha_bar(500) == pytest.approx(0.49, abs=5e-3)
    assert (linear.alpha_bar(258), cosine.alpha_bar(495)) == pytest.approx((0.5, 0.5), abs=5e-4)
    assert linear.alpha_bar(999) == pytest.approx(0.00004, rel=0.02)
    assert linear.alpha_bar(999) ** 0.5 == pytest.approx(0.006, abs=5e-4)
    short = make_schedule("linear", 100)
    assert short.alpha_bar(99) == pytest.approx(0.36, abs=5e-3)
    assert make_schedule("linear", 300).alpha_bar(299) == pytest.approx(0.048, abs=5e-4)
    assert (short.betas.sum().item(), linear.betas.sum().item()) == pytest.approx((1, 10), rel=0.02)


def test_the_same_noise_level_is_the_same_picture():
    ((one, other),) = (row.figures for row in draw(card_of("noise", "Another schedule, another picture?").experiment))
    pixels = [torch.tensor(list(figure.image.tobytes()), dtype=torch.float) for figure in (one, other)]
    assert (pixels[0] - pixels[1]).abs().max() <= 1
    (row,) = draw(card_of("noise", "Five hundred steps, or one").experiment)
    for figure in row.figures:
        mean, spread = (float(text) for text in re.findall(r"\d\.\d\d", figure.facts))
        assert mean < 0.02
        assert spread == pytest.approx(1, abs=0.021)


def ends(card, number: int) -> torch.Tensor:
    """The images of a shot of a card, drawn anew: (N, 1, 32, 32) in [-1, 1]."""
    from ddpm.lessons import experiments

    walk = experiments._walk(card.experiment, card.experiment.shots[number], lambda: None, load_model)
    return to_float(to_uint8(walk[-1].x0))


def read(images: torch.Tensor) -> list[int]:
    return classify(images).argmax(1).tolist()


def test_an_error_of_the_noise_is_enlarged_in_the_image():
    card = card_of("undo", "Noise or image?")
    errors, images = ([figure.image for figure in row.figures] for row in draw(card.experiment)[2:])
    strength = [torch.tensor(list(image.tobytes()), dtype=torch.float).sub(127.5).std() for image in errors]
    assert strength[2] == pytest.approx(strength[1], rel=0.25)  # of the noise, at t = 600 and at t = 400
    assert read(to_float(torch.tensor(list(images[1].tobytes())).view(1, 1, 32, 32).byte())) == [3]
    linear = make_schedule("linear", 1000)
    grown = [((1 - linear.alpha_bar(t)) / linear.alpha_bar(t)) ** 0.5 for t in (400, 600)]
    assert [round(each) for each in grown] == [2, 6]


@pytest.mark.slow
def test_only_eta_changes_the_digits():
    card = card_of("ddim", "Only eta")
    none, some, all_of_it = (read(ends(card, number)) for number in range(3))
    assert 2 <= sum(a != b for a, b in zip(none, some, strict=True)) < 5
    assert [k for k in range(5) if none[k] == all_of_it[k]] == [0]
    assert none[0] == 0


@pytest.mark.slow
def test_chance_can_be_repeated():
    (row,) = draw(card_of("ddim", "Chance, repeated").experiment)
    assert [figure.facts[:6] for figure in row.figures] == ["", "5 of 5", "0 of 5"]


@pytest.mark.slow
@pytest.mark.parametrize(("heading", "near"), [("More steps of DDIM", (20, 28)), ("More steps of DDPM", (8, 8))])
def test_ddim_converges_to_a_picture_and_ddpm_does_not(heading, near):
    card = card_of("ddim", heading)
    (row,) = draw(card.experiment)
    five, ten = (float(re.search(r"([\d.]+) dB", figure.facts)[1]) for figure in row.figures[:2])
    assert near[0] < five < near[0] + 6
    assert near[1] < ten < near[1] + 5


@pytest.mark.slow
def test_other_fresh_noise_alone_draws_other_digits_and_a_walk_between_noises_passes_by_a_digit_of_its_own():
    card = card_of("ddim", "More steps of DDPM")
    same, fresh = (read(ends(card, number)) for number in (2, 3))
    assert (same[1], fresh[1]) == (6, 2)
    assert all(a != b for a, b in zip(same, fresh, strict=True))
    card = card_of("ddim", "Half way between two noises")
    assert read(ends(card, 0)) == [7, 7, 9, 4, 4, 4, 6, 6, 6]
    assert read(ends(card, 1)) == [3] * 9


@pytest.mark.slow
def test_guidance_asks_more_and_more_loudly():
    (row,) = draw(card_of("guidance", "Asked for, and ignored").experiment)
    assert [figure.facts[:25] for figure in row.figures] == [f"a classifier reads {n} of 8" for n in (2, 4, 8, 8)]
    (row,) = draw(card_of("guidance", "More of it").experiment)
    assert all("reads 10 of 10" in figure.facts for figure in row.figures)
    assert [figure.facts[-4:] for figure in row.figures] == ["0.27", "0.24", "0.23"]
    (row,) = draw(card_of("guidance", "Only for a while").experiment)
    assert [figure.facts.split()[4] for figure in row.figures] == ["0.27", "0.23", "0.27", "0.24"]


@pytest.mark.slow
def test_one_step_draws_the_mean_and_a_network_believes_what_it_is_told_only_in_much_noise():
    card = card_of("undo", "All at once")
    one, many = ends(card, 0), ends(card, 3)
    assert one.std(0).mean() < 0.1 * many.std(0).mean()
    rows = draw(card_of("undo", "A lie").experiment)
    sevens = [torch.tensor(list(figure.image.tobytes())).view(1, 1, 32, 32).byte() for figure in rows[2].figures]
    assert read(to_float(torch.cat(sevens))) == [3, 3, 3, 7, 7, 7]
    zero = draw(card_of("undo", "It has never seen a flower").experiment)[1].figures[4]
    assert read(to_float(torch.tensor(list(zero.image.tobytes())).view(1, 1, 32, 32).byte())) == [0]


@pytest.mark.slow
def test_what_is_said_of_the_plane():
    said = {}
    for lesson, heading in (
        ("ddim", "No network to blame"),
        ("guidance", "Is it the truth?"),
        ("train", "The perfect student"),
    ):
        (row,) = draw(card_of(lesson, heading).experiment)
        said[lesson] = [float(re.search("data: ([0-9.]+)", figure.facts)[1]) for figure in row.figures], row.figures
    one, five, fifty = said["ddim"][0]
    assert one > 2 * five > 4 * fifty
    ignored, plain, strong = said["guidance"][0]
    assert plain < strong < ignored
    drawn = said["train"][1][0].chart.panels[0].traces[1]  # of 10 points
    places = torch.tensor([drawn.x, drawn.y]).T
    near = torch.cdist(places, sample_data("moons", 10).x).min(1).values
    assert (near < 0.02).float().mean() > 0.97


def test_the_numbers_in_the_texts_are_those_of_the_evaluations():
    mnist, fast = (find_results(load_model(name)) for name in ("mnist", "mnist-fast"))
    ten, one = mnist["ddim_50steps"], fast["ddim_1steps"]
    assert ten["num_samples"] == one["num_samples"] == 10_000
    key, twenty = "frechet_distance", mnist["ddim_20steps"]
    found = {
        "0.042": ten["reference"][key], "0.059": ten[key], "0.074": one[key], "0.084": twenty["reference"][key],
        "0.078": twenty[key], "0.087": mnist["ddim_100steps"][key], "1.04": one["nearest_training_image"]["ratio"],
        "0.022": mnist["dpmpp_2m_20steps"]["reference"]["frechet_distance_ci95"],
    }  # fmt: skip
    for text, number in found.items():
        assert f"{number:.{len(text) - 2}f}" == text
    shares = {"97.4": ten["label_accuracy"], "99.4": one["label_accuracy"], "99.7": ten["reference"]["label_accuracy"],
              "85.7": ten["recall"], "79.5": one["recall"]}  # fmt: skip
    for text, number in shares.items():
        assert 100 * number == pytest.approx(float(text), abs=0.051)
    whole = " ".join(card.setup + card.came + card.why for card in lessons()["quality"].cards)
    assert all(text in whole for text in (*found, *shares))

    table = mnist["calibration"]
    ratio = [w / n for w, n in zip(table["wiener"]["mse_x0"], table["mse_x0"], strict=True)]
    assert [round(each, 1) for each in (ratio[4], ratio[1])] == [1.6, 3.4]
    assert all(0.99 < each < 1 for each in ratio[7:])
    assert (round(table["mse"][0], 2), f"{table['mse'][-1]:.6f}") == (0.27, "0.000009")


def test_the_numbers_in_the_texts_are_those_of_the_training():
    history = read_history(shipped_histories()["digits"].metrics)
    last, first = history.training[-1], history.training[0]
    assert last["step"] == last["total_steps"] == 1890
    assert 500 < last["elapsed"] < 540
    assert first["loss_by_t"][0] > 0.9
    assert last["loss_by_t"][0] == max(last["loss_by_t"])
    images = load_dataset(DataConfig(dataset="digits", image_size=8, channels=1), "train", download=False)
    assert len(images) + 143 >= 1425 == len(images)
    assert images.scaled().square().mean().item() == pytest.approx(0.7, abs=0.02)
    steps = torch.arange(1, 501).numpy()
    assert _kept(0.9995, steps, warm=False)[-1] == pytest.approx(0.78, abs=5e-3)
    assert _kept(0.9995, steps, warm=True)[35] < 0.001


# -- what is made of them ------------------------------------------------------------------------------------------


def test_an_answer_sheet_has_questions_answers_and_pictures():
    lesson = lessons()["noise"]
    answers = Answers.none(len(lesson.cards)).given(0, "b").given(4, "c").given(5, "x")
    drawn = {index: draw(lesson.cards[index].experiment) for index in (0, 4, 5)}
    page = sheet_html(lesson, answers, drawn).decode()
    text = sheet_markdown(lesson, answers, drawn).decode()
    pictures = 5 + 2 + 3 + 3  # of three cards, and their formulas
    assert page.count('<img src="data:image/png;base64,') == pictures
    assert len(re.findall(r"^\[\S+\]: data:image/png;base64,", text, re.MULTILINE)) == pictures
    assert all(f"[{name}]: data" in text for name in re.findall(r"!\[.*?\]\[(.+?)\]", text))
    assert "Your answer: b; what came is a" in page
    assert "Your answer: c, which is what came." in page
    assert "Your answer: none, it was shown; the answer is c." in page
    assert page.count("Not yet answered.") == 3
    assert "](#" not in text


def test_the_static_page_has_every_card_and_only_links_that_it_can_follow(monkeypatch):
    monkeypatch.setattr("ddpm.deploy.lessons_page.draw", lambda experiment: ())
    monkeypatch.setattr("ddpm.deploy.lessons_page._PICTURES", {})
    page = json.loads(lessons_json({"mnist-fast"}))
    assert [len(lesson["cards"]) for lesson in page] == [len(lesson.cards) for lesson in lessons().values()]
    addresses = [visit["address"] for lesson in page for card in lesson["cards"] for visit in card["visits"]]
    assert addresses
    assert all(address.startswith("plane.html?plane_") for address in addresses)
    more = json.loads(lessons_json({"mnist-fast", "mnist"}))
    every = [visit["address"] for lesson in more for card in lesson["cards"] for visit in card["visits"]]
    assert any(address.startswith("index.html?play_model=mnist&") for address in every)
    texts = json.dumps(page)
    assert "](#" not in texts
    assert page[0]["cards"][0]["words"][0].startswith("<strong>alpha_bar")


def test_every_kind_of_experiment_is_used():
    assert {type(card.experiment) for _, card in CARDS} == {*kinds.KINDS.values()}
    assert {shot.settings.get("sampler", "ddim") for _, card in CARDS for shot in getattr(card.experiment, "shots", ())
            if hasattr(shot, "settings")} <= SAMPLERS.keys()  # fmt: skip


VISITS = {(visit.page, visit.query): visit for _, card in CARDS for visit in card.visits}


@pytest.mark.slow
@pytest.mark.parametrize("visit", VISITS.values(), ids=lambda visit: f"{visit.page} {visit.label}")
def test_a_page_takes_all_that_a_link_of_a_card_asks_for(visit, open_page):
    app = open_page(f"pages/{visit.page}.py", **parse_qs(visit.query))
    assert not [toast.value for toast in app.toast]
    assert not [warning.value for warning in app.warning if "link" in warning.value]
    assert not app.error
