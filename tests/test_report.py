"""The report: every section, every number as it stands in the records, and nothing loaded from elsewhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from PIL import Image

from ddpm.errors import ModelError
from ddpm.evaluation import lpips_weights
from ddpm.evaluation.evaluate import Protocol, evaluate_to
from ddpm.media import report
from ddpm.media.document import Markdown, environment, render, table, to_html
from ddpm.media.report import write_report
from ddpm.models import load_model
from ddpm.storage.places import PRETRAINED
from ddpm.training.history import read_history

HEADINGS = [
    "Training overview", "Configuration summary", "Results", "Training curves", "Noise schedule", "Generated samples",
    "Reverse diffusion process", "Evaluation metrics", "Calibration", "Sample quality", "Model details", "Architecture",
    "Configuration", "Training details", "Files generated", "Usage examples", "References",
]  # fmt: skip


class Page(HTMLParser):
    """What a page shows and loads."""

    def __init__(self, html: str):
        super().__init__()
        self.headings, self.sources, self.text, self.open = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


@pytest.fixture
def evaluated(tiny_run, monkeypatch):
    """The run ``tiny`` with an evaluation."""
    monkeypatch.setattr(lpips_weights, "URL", "http://127.0.0.1:9/")
    model = load_model("tiny")
    protocol = Protocol(model.config.sampling, num_samples=20, all_methods=True)
    list(evaluate_to(tiny_run / "logs" / "evaluation_results.json", model, protocol))
    return tiny_run


def artefacts(text: str) -> list[str]:
    """What a value that was never meant to be read leaves in a text."""
    return re.findall(r"\bnan\b|\binf\b|\bNone\b|[{}]|\bTrue\b|\bFalse\b|object at 0x", text)


def without_code(markdown: str) -> str:
    return re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)


@pytest.mark.slow
def test_a_report_holds_every_section_and_reads_clean(evaluated):
    files = write_report("run:tiny")
    assert files.markdown == evaluated / "report" / "report.md"
    page, text = Page(files.html.read_text()), files.markdown.read_text()
    assert page.headings == HEADINGS
    assert re.findall(r"^###? (.*)", text, re.MULTILINE) == HEADINGS
    assert artefacts(without_code(text)) == []
    assert ".." not in without_code(text)
    assert text.count("Not available") == 2  # LPIPS and the classifier's metrics, on 8x8 digits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([0.5, 0.9, 0.2], "fell from 0.5 at step 10 to 0.2 at step 30"),
        ([0.2, 0.1, 0.5], "rose from 0.2 at step 10 to 0.5 at step 30"),
        ([0.5, 0.1, 0.5001], "was 0.5 at step 10 and still at step 30"),
        ([0.5], "was 0.5 at step 10"),
    ],
)
def test_the_report_says_which_way_the_loss_went(tiny_run, losses, said):
    records = (tiny_run / "logs" / "training_metrics.jsonl").read_text().splitlines()
    first = next(record for record in map(json.loads, records) if "train_loss" in record)
    kept = [json.dumps(first | {"step": 10 * (i + 1), "train_loss": loss}) for i, loss in enumerate(losses)]
    (tiny_run / "logs" / "training_metrics.jsonl").write_text("\n".join(kept))
    assert f"The loss of the training batches {said}." in write_report("run:tiny").markdown.read_text()


@pytest.mark.slow
def test_the_html_needs_nothing_beside_it(evaluated):
    html = write_report("run:tiny").html.read_text()
    sources = Page(html).sources
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", html)


@pytest.mark.slow
def test_its_figures_lie_beside_the_markdown(evaluated):
    files = write_report("run:tiny")
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", files.markdown.read_text())
    assert {"train_loss_curve.png", "val_loss_curve.png", "schedules.png", "samples.png", "trajectory.gif",
            "calibration.png", "quality.png"} <= set(linked)  # fmt: skip
    for name in linked:
        with Image.open(files.markdown.parent / name) as image:
            image.verify()
    with Image.open(files.markdown.parent / "trajectory.gif") as image:
        assert image.n_frames == 6  # five steps and the noise


@pytest.mark.slow
def test_its_numbers_are_those_of_the_results_and_the_records(evaluated):
    text = write_report("run:tiny").markdown.read_text()
    results = json.loads((evaluated / "logs" / "evaluation_results.json").read_text())
    calibration, stage = results["calibration"], results["ddim_5steps"]
    row = f"| 0 | {calibration['mse'][0]:#.3g} ± {calibration['mse_ci95'][0]:.1g} | {calibration['psnr'][0]:.2f} ± "
    assert row in text.replace("\u00a0", " ")
    assert f"| 0 | {calibration['mse'][0]:.3g} | {calibration['wiener']['mse'][0]:.3g} |" in text
    ratio = stage["nearest_training_image"]["ratio"]
    assert f"| DDIM, 5 steps | 20 | 10 | {stage['pixel_diversity']:.3g} | {ratio:.3g} |" in text
    assert f"| **real images** | 20 |  | {stage['reference']['pixel_diversity']:.3g} |  |" in text
    assert results["made_by"]["sha256"] in text
    history = read_history(evaluated / "logs" / "training_metrics.jsonl")
    loss = history.column("train_loss")
    assert f"fell from {loss[0]:.3g} at step 5 to {loss[-1]:.3g} at step 21" in text
    assert f"reached {history.column('val_loss').min():.3g} at step" in text
    assert "| Steps taken | 21 of 21 |" in text
    assert "| State | finished |" in text


@pytest.mark.slow
def test_it_describes_the_network_that_ran(evaluated, random_model):
    text = write_report("run:tiny").markdown.read_text()
    assert "with 8 and 16 channels" in text
    assert "Multi-head self-attention in 4 blocks, on maps of 4 x 4, with 2 heads" in text
    assert "| Image size | 8 x 8, grey |" in text
    assert "| Schedule | linear |" in text
    assert "| Horizontal flips | no |" in text


@pytest.mark.slow
def test_what_is_absent_is_named_with_its_remedy(tiny_run):
    text = write_report("run:tiny").markdown.read_text()
    remedy = "run `python -m ddpm eval --model run:tiny`, and write this report anew."
    assert f"Not available: this model has not been evaluated: {remedy}" in text
    (tiny_run / "logs" / "training_metrics.jsonl").unlink()
    text = write_report("run:tiny").markdown.read_text()
    assert "Not available: no metrics at" in text
    assert artefacts(without_code(text)) == []


@pytest.mark.slow
def test_without_the_dataset_the_rest_is_reported(run_without_dataset):
    text = write_report("run:tiny").markdown.read_text()
    calibration, quality = text.split("### Calibration")[1].split("### Sample quality")
    assert "Not available: dataset digits is not here: connect to the network once." in calibration
    assert "Not available: **Fréchet distance, KID, Precision, Recall, Label accuracy**: it is taken" in quality
    assert "Real images**: dataset digits is not here: connect to the network once." in quality
    assert re.search(r"\| DDIM, 5 steps \| 12 \| 10 \| 0\.\d+ \| – \|", quality)
    assert "**real images**" not in quality
    assert "quality.png" in quality
    assert artefacts(without_code(text)) == []


@pytest.mark.slow
def test_the_classes_of_a_calibration_are_reported(tiny_run):
    model = load_model("tiny")
    protocol = Protocol(model.config.sampling, num_samples=12, per_class=True)
    list(evaluate_to(tiny_run / "logs" / "evaluation_results.json", model, protocol))
    classes = json.loads((tiny_run / "logs" / "evaluation_results.json").read_text())["calibration"]["per_class"]
    row = [f"{table['mse'][0]:.2g}" for table in classes.values()]
    assert f"| 0 | {' | '.join(row)} |" in write_report("run:tiny").markdown.read_text()


@pytest.mark.slow
def test_a_shipped_model_is_reported_into_the_folder_that_is_asked_for(tmp_path):
    files = write_report("digits", tmp_path / "there")
    text = files.markdown.read_text()
    assert files.markdown.parent == tmp_path / "there"
    history = read_history(PRETRAINED / "digits" / "logs" / "training_metrics.jsonl")
    assert f"fell from {history.column('train_loss')[0]:.3g} at step 20" in text
    assert f"| Steps taken | {history.training[-1]['step']:,} of 1,890 |" in text
    assert "| 999 | 1.18e-05" in text
    assert "1.08 M parameters" in text
    assert artefacts(without_code(text)) == []


@pytest.mark.slow
def test_without_records_of_the_training_it_says_how_to_have_them(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "GRID_SAMPLES", 2)  # what it says is looked at, not what it draws
    text = write_report("mnist", tmp_path).markdown.read_text()
    assert "train it and report on the run, `python -m ddpm report --run mnist`" in text


@pytest.mark.slow
def test_a_damaged_stage_and_a_metric_that_is_missing_are_named(evaluated):
    path = evaluated / "logs" / "evaluation_results.json"
    results = json.loads(path.read_text())
    results["ddim_5steps"]["num_samples"] = "twenty"
    del results["ddim_10steps"]["pixel_diversity"]
    path.write_text(json.dumps(results))
    text = write_report("run:tiny").markdown.read_text()
    assert "**ddim_5steps**: what is stored of this stage is damaged (num_samples: input should be a valid" in text
    assert "**Pixel diversity of DDIM, 10 steps**: it has not been computed yet: evaluate again" in text
    assert artefacts(without_code(text)) == []


@pytest.mark.slow
def test_its_usage_lines_are_commands(evaluated):
    import shlex

    from ddpm.cli import cli

    lines = re.findall(r"^python -m ddpm (.*)", write_report("run:tiny").markdown.read_text(), re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        command, words = cli, shlex.split(line, comments=True)
        while words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        command.make_context("x", words)  # raises where an option is unknown


def test_a_model_that_is_not_there_writes_nothing(tmp_path, output_dir):
    with pytest.raises(ModelError):
        write_report("run:nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_text_from_outside_cannot_become_markup(tmp_path):
    html = to_html("# <script>alert(1)</script> & more\n\n<b>x</b> `<i>`", "<title>", tmp_path, set())
    assert "<script" not in html
    assert "<b>" not in html
    assert "<title>&lt;title&gt;</title>" in html


@pytest.mark.parametrize("foreign", ["*a*", Path("*a*"), ValueError("*a*"), ["*a*"]])
@pytest.mark.parametrize(
    "template",
    ["{{ x }}", "{{ x ~ y }}", "{{ [x, y] | join(', ') }}", "{{ x | string | safe }}", "{{ 'about %s' % x }}",
     "{% set z %}{{ x }}{% endset %}{{ z }}", "{% for each in [x] %}{{ each }}{% endfor %}"],
)  # fmt: skip
def test_what_a_template_shows_is_escaped_though_it_does_not_say_so(template, foreign):
    text = environment().from_string(template).render(x=foreign, y=Markdown("*b*"))
    assert "a" in text
    assert not re.search(r"(?<!\\)\*", text)


def test_a_template_says_what_it_lacks_and_how_it_is_folded(tmp_path, monkeypatch):
    monkeypatch.setattr("ddpm.media.document.TEMPLATES", tmp_path)
    (tmp_path / "x.md.j2").write_text("- one\n  and {{ x | number }}\n- {{ y }}\n    three\n", encoding="utf-8")
    assert render("x.md.j2", {"x": 1 / 3, "y": 2}) == "- one and 0.333\n- 2\n    three\n"
    with pytest.raises(UndefinedError, match="'y' is undefined"):
        render("x.md.j2", {"x": 1})


def test_a_table_keeps_its_columns_whatever_is_in_a_cell():
    assert table([["a", "b"], ["x|y", Markdown("`x|y`")], [-1.5, 2]]) == (
        "| a | b |\n|---|---|\n| x\\|y | `x\\|y` |\n| -1.5 | 2 |"
    )
