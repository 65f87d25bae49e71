"""What somebody else wrote into a model's folder is shown as it is: nothing of it is read, fetched, rendered or run.

Every text of every file is found by walking the file, so that a field that comes later is covered. Each gets a payload
of its own with a number, and what comes out is read by a parser of its own.
"""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from ddpm.config import config_from_dict, config_to_yaml
from ddpm.deploy.readme import app_readme, static_readme
from ddpm.deploy.space import space_files
from ddpm.deploy.static_page import description
from ddpm.errors import DDPMError
from ddpm.escaping import as_cell, as_sentence
from ddpm.evaluation.evaluate import Protocol, evaluate_to
from ddpm.evaluation.results import find_results, read_results, results_csv
from ddpm.files import RESULTS, RunFolder, write_text
from ddpm.jobs import read_status
from ddpm.media.document import to_html
from ddpm.media.model_card import write_model_folder
from ddpm.media.report import write_report
from ddpm.models import Model, load_model
from ddpm.storage.checkpoints import read_checkpoint
from ddpm.storage.layouts import CONFIG, WEIGHTS
from ddpm.storage.pipelines import INDEX, SCHEDULER, UNET
from ddpm.storage.weights import write_safetensors
from ddpm.training.history import read_history
from ddpm.unet import UNet
from tests.conftest import TINY
from tests.test_pipelines import save

SECRET = b"what is in a file of this machine"
BEGINNINGS = ("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "# x", "```\n", "1. x", "    x", "| x |", "---\n", "x")
HARM = (
    '![a]({secret}) [b](https://evil.invalid/{n}) <img src="https://evil.invalid/{n}"> <script>alert({n})</script> '
    "`c` *d* __e__ ~~f~~ $g$ :red[h] | i \n\n![j][k]\n\n[k]: {secret}\n\n<https://evil.invalid/{n}> ``` </style> "
    "&lt;b&gt; \\ https://evil.invalid/{n}"
)
SHORT = ("![a](/etc/hosts)", "<img src=x>", "[b](//evil.invalid)", "```", "`x`", "a|b", "=1+1", "# x", "$x$", '"', "'")


class Payloads:
    """Texts that try to be more than text, each with its number."""

    def __init__(self, secret):
        self.secret, self.count = secret, 0

    def __call__(self, _="") -> str:
        self.count += 1
        beginning = BEGINNINGS[self.count % len(BEGINNINGS)]
        return f"{beginning} MARK{self.count}Z " + HARM.format(n=self.count, secret=self.secret)

    def name(self) -> str:
        """A short one on one line, as a class may be called."""
        self.count += 1
        return f"{SHORT[self.count % len(SHORT)]} MARK{self.count}Z"


@pytest.fixture
def payloads(tmp_path):
    (tmp_path / "secret.txt").write_bytes(SECRET)
    return Payloads(tmp_path / "secret.txt")


def places(value, path=()):
    """The way to every text of nested dicts and lists, and to every key, as (way to its dict, key)."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield path, key
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for k, part in enumerate(value):
            yield from places(part, (*path, k))
    elif isinstance(value, str):
        yield path, None


def altered(value, path, key, text):
    """A copy with another text at a place: a value there, or a further key with this text as its name and value."""
    value = json.loads(json.dumps(value))
    node = value
    for part in path if key is not None else path[:-1]:
        node = node[part]
    if key is None:
        node[path[-1]] = text
    else:
        node[text] = node[key]  # what stands under another name, in the place that it had
        node[f"{text}, text"] = text
    return value


# -- parsers -------------------------------------------------------------------------------------------------------


class Shown(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


OURS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "strong", "em", "code", "pre", "ul",
        "li", "br", "img", "div", "table", "thead", "tbody", "tr", "th", "td", "hr"}  # fmt: skip


def check_html(html: str) -> None:
    page = Shown(html)
    (policy,) = [given["content"] for _, given in page.elements if "http-equiv" in given]
    assert policy.startswith("default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha2")
    assert html.index(policy) < html.index("<style>")
    assert {tag for tag, _ in page.elements} <= OURS
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.keys() <= {"lang", "charset", "name", "content", "http-equiv", "src", "alt", "class"}, tag
        if "src" in attributes:
            assert re.match(r"data:image/(png|gif);base64,", attributes["src"])
    check_secret(html)


def check_markdown(file) -> str:
    """A file of Markdown as readers of any kind take it, with HTML, tables and strikethrough: images are those beside
    it, and no heading, link, HTML or code is another's. Returns its text."""
    text = file.read_text()
    body = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)  # the Hub's metadata
    before = ""
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body):
        assert not (before == "heading_open" and marks(token.content)), token.content
        before = token.type
        for part in (token, *(token.children or ())):
            assert part.type not in ("html_block", "html_inline", "s_open", "link_open", "code_block"), part.content
            if part.type == "image":
                assert re.fullmatch(r"\w+\.(png|gif)", part.attrs["src"])
                assert (file.parent / part.attrs["src"]).is_file()
            if part.type == "fence":
                assert part.info in ("yaml", "bash", "python")
    check_secret(text)
    return text


def texts_of(message):
    """Every text of a protobuf message, with the name of its field."""
    for field, value in message.ListFields():
        for part in value if field.is_repeated else [value]:
            if isinstance(part, str):
                yield field.name, part
            elif hasattr(part, "ListFields"):
                yield from texts_of(part)


AS_IT_IS = {"options", "raw_values", "set_value", "alt"}  # what Streamlit shows without reading Markdown in it


def check_page(app) -> set[str]:
    """What a page of the app shows: foreign text is text in it. Returns the marks of what is shown."""
    found = set()
    for node in (*app.main, *app.sidebar):
        for name, text in texts_of(node.proto) if node.proto is not None else ():
            check_secret(text)
            if not marks(text):
                continue
            found |= marks(text)
            if name == "spec":  # Plotly's own HTML
                assert "<img" not in text
                assert "<a" not in text
            elif name not in AS_IT_IS and node.type not in ("code", "json", "text", "arrow_data_frame"):
                assert not re.search(r"(?<!\\)(\$|:red\[)", text), (node.type, name, text)
                for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
                    for part in (token, *(token.children or ())):
                        assert part.type not in (
                            "html_block", "html_inline", "s_open", "link_open", "image", "code_block", "heading_open",
                        ), (node.type, name, part.content)  # fmt: skip
    return found


def check_secret(text: str) -> None:
    assert SECRET.decode() not in text
    for shift in range(3):  # base64 at each of its three alignments
        assert base64.b64encode(b" " * shift + SECRET).decode()[4:-4] not in text


def check_csv(text: str) -> None:
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    for cell in (cell for row in rows for cell in row):
        if re.match(r"\s*[=+\-@]", cell):
            float(cell)


def marks(text: str) -> set[str]:
    return set(re.findall(r"MARK\d+Z", text))


# -- an evaluation -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def evaluation(_trained_outputs, made_once):
    """The evaluation of ``tiny``, with every kind of stage in it."""

    def make(folder) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DDPM_OUTPUT_DIR", str(_trained_outputs))
            patch.setattr("ddpm.evaluation.lpips_weights.URL", "http://127.0.0.1:9/")
            model = load_model("run:tiny")
            protocol = Protocol(model.config.sampling, num_samples=12, per_class=True)
            list(evaluate_to(folder / RESULTS, model, protocol))

    whole = json.loads((made_once("evaluated-with-classes", make) / RESULTS).read_text())
    classes = whole["calibration"]["per_class"]
    whole["calibration"]["per_class"] = {label: classes[label] for label in ("0", "1")}
    return whole


def hostile_evaluations(evaluation, payloads, path):
    """Evaluations with payloads in every text that is read: one with all that is accepted, and the others."""
    sound = read_results_of(evaluation, path)
    together, refused = json.loads(json.dumps(evaluation)), []
    for way, key in list(places(evaluation)):
        if way[-1:] == ("sha256",) and way[:1] == ("made_by",):
            continue  # by which it is known whose evaluation this is
        text = payloads()
        single = altered(evaluation, way, key, text)
        try:
            accepted = read_results_of(single, path).keys() >= sound.keys() and not damaged(single, path)
        except DDPMError:
            accepted = False
        if accepted:
            together = altered(together, way, key, text)
        else:
            refused.append(single)
    return together, refused


def read_results_of(evaluation, path):
    path.write_text(json.dumps(evaluation))
    return read_results(path)


def damaged(evaluation, path) -> bool:
    return any("is damaged" in stage.get("unavailable", "") for stage in read_results_of(evaluation, path).values())


def unavailable_everywhere(value, payloads):
    """An evaluation that lacks whatever may be lacking, each for a reason of its own."""
    if isinstance(value, dict):
        return {key: part if key in ("made_by", "num_samples", "network_evaluations", "timesteps", "num_images")
                else {"unavailable": payloads()} if key not in ("reference", "calibration") and may_lack(key, part)
                else unavailable_everywhere(part, payloads) for key, part in value.items()}  # fmt: skip
    return value


def may_lack(key, part) -> bool:
    return isinstance(part, float) or key in ("wiener", "per_class", "ssim", "surest", "least_sure", "confusion_matrix",
                                              "class_histogram", "nearest_training_image")  # fmt: skip


def hostile_evaluation(kind, evaluation, payloads, path):
    """An evaluation of one kind, and those of its kind that are refused."""
    if kind == "texts":
        return hostile_evaluations(evaluation, payloads, path)

    def stage_of(stage):
        return unavailable_everywhere(stage, payloads) if kind == "reasons" else {"unavailable": payloads()}

    return {name: stage if name == "made_by" else stage_of(stage) for name, stage in evaluation.items()}, []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["texts", "reasons", "stages"])
def test_an_evaluation_is_shown_as_text_in_report_card_and_table(kind, evaluation, tiny_run, payloads, tmp_path):
    path = tiny_run / "logs" / RESULTS
    hostile, refused = hostile_evaluation(kind, evaluation, payloads, path)
    path.write_text(json.dumps(hostile))
    found = find_results(load_model("run:tiny"))
    files = write_report("run:tiny")
    report, html = files.markdown.read_text(), files.html.read_text()
    assert len(marks(report)) >= {"texts": 3, "reasons": 5, "stages": 2}[kind]
    assert marks(html) == marks(report) == marks(" ".join(Shown(html).text))
    check_markdown(files.markdown)
    check_html(html)
    check_csv(results_csv(found))
    write_model_folder("run:tiny", tmp_path / "card", "me/tiny", "=<b>mit</b>")
    check_markdown(tmp_path / "card" / "README.md")
    for single in refused:  # the reason quotes what is wrong
        path.write_text(json.dumps(single))
        try:
            reasons = [stage["unavailable"] for stage in read_results(path).values() if "unavailable" in stage]
        except DDPMError as error:
            reasons = [str(error)]
        for reason in reasons:
            write_text(tmp_path / "reason.md", f"Not available: **x**: {as_sentence(reason)}.")
            check_markdown(tmp_path / "reason.md")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["texts", "reasons", "stages"])
def test_an_evaluation_is_shown_as_text_on_its_page(kind, evaluation, tiny_run, payloads, open_page):
    path = tiny_run / "logs" / RESULTS
    hostile, refused = hostile_evaluation(kind, evaluation, payloads, path)
    for single in [*refused[::40], hostile]:
        path.write_text(json.dumps(single))
        shown = check_page(open_page("pages/evaluate.py", eval_model="run:tiny"))
    assert len(shown) >= {"texts": 3, "reasons": 5, "stages": 2}[kind]


def test_only_figures_that_the_report_wrote_are_inside(tmp_path):
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (tmp_path / "old.png").write_bytes(SECRET)
    (tmp_path / "new.png").write_bytes(b"drawn")
    text = (
        f"![a]({tmp_path}/secret.txt) ![b](old.png) ![c](new.png) ![d](https://evil.invalid) [e](https://evil.invalid)"
    )
    html = to_html(text, "x", tmp_path, {"new.png"})
    check_secret(html)
    images = [attributes["src"] for tag, attributes in Shown(html).elements if tag in ("img", "a")]
    assert images == ["data:image/png;base64," + base64.b64encode(b"drawn").decode()]
    assert {"a", "b", "d"} <= set(" ".join(Shown(html).text).split())


# -- a run ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_records_of_a_run_are_shown_as_text(tiny_run, payloads, monkeypatch):
    status = json.loads((tiny_run / "status.json").read_text())
    status |= {"state": "failed", "error": payloads(), "doing": payloads(), "inexact": [payloads()] * 2,
               "notes": [payloads()]}  # fmt: skip
    (tiny_run / "status.json").write_text(json.dumps(status))
    (tiny_run / "logs" / "train.log").write_text(payloads())
    (tiny_run / "=![x](y)|`<img src=z>`.txt").write_text(payloads())
    _, content = read_checkpoint(tiny_run / "ckpts" / "latest.pt")
    made_on = {name: payloads() for name in content["made_on"]}
    monkeypatch.setattr("ddpm.media.subject.read_checkpoint", lambda path: (None, content | {"made_on": made_on}))
    files = write_report("run:tiny")
    assert len(marks(files.html.read_text())) >= 4
    check_markdown(files.markdown)
    check_html(files.html.read_text())
    assert read_status(RunFolder(tiny_run)).state == "failed"


@pytest.mark.slow
def test_the_curves_of_a_run_are_numbers(tiny_run, payloads):
    path = tiny_run / "logs" / "training_metrics.jsonl"
    whole = path.read_text()
    first = json.loads(whole.splitlines()[0])
    named = first | {payloads(): 1.5, payloads(): -2, "=x": 1}
    path.write_text(json.dumps(named) + "\n" + whole)
    check_csv(read_history(path).csv())
    for name, value in first.items():
        for text in (payloads(), [payloads()]):
            path.write_text(json.dumps(first | {name: text if not isinstance(value, list) else [text]}) + "\n" + whole)
            with pytest.raises(DDPMError, match="line 1: not a record of training metrics"):
                read_history(path)
    files = write_report("run:tiny")  # which quotes the error
    check_markdown(files.markdown)
    check_html(files.html.read_text())


# -- a config ------------------------------------------------------------------------------------------------------


def fields_of(config):
    return [(section, field) for section, fields in config.items() if isinstance(fields, dict) for field in fields]


@pytest.mark.slow
def test_the_texts_of_a_config_are_text_everywhere(payloads, tmp_path):
    names = sorted({payloads.name() for _ in range(22)})
    values = json.loads(json.dumps(TINY))
    values["data"] = {"dataset": "folder", "path": "<img src=x>/![a](b)", "image_size": 8, "class_names": names}
    values["model"]["num_classes"] = len(names)
    whole = config_from_dict(values)
    config = whole
    for section, field in fields_of(whole.model_dump(mode="json")):  # every text that is accepted, wherever it is
        changed = whole.model_dump(mode="json", exclude_none=True)
        changed[section][field] = payloads.name()
        try:
            config = config_from_dict(config.model_dump(mode="json", exclude_none=True) | {
                section: config.model_dump(mode="json", exclude_none=True)[section] | {field: changed[section][field]}
            })  # fmt: skip
        except DDPMError:
            continue
    network = UNet(**config.network_arguments())
    folder = tmp_path / "model"
    folder.mkdir()
    write_safetensors(network, folder / WEIGHTS)
    write_text(folder / CONFIG, config_to_yaml(config))
    files = write_report(str(folder), tmp_path / "report")
    assert marks(files.html.read_text()) >= marks(" ".join(names[:3]))
    check_markdown(files.markdown)
    check_html(files.html.read_text())
    write_model_folder(str(folder), tmp_path / "card", "me/pets")
    card = check_markdown(tmp_path / "card" / "README.md")
    assert marks(card) >= marks(" ".join(names))
    example = re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]
    compile(example, "card", "exec")
    model = Model(config, network, "x")
    readmes = {"space": app_readme("x", config), "static": static_readme([model], "onnxruntime-web")}
    for name, text in readmes.items():
        write_text(tmp_path / name, text)
        check_markdown(tmp_path / name)
    assert json.loads(json.dumps(description(model)))["classNames"] == names


# -- a model of the Hub --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_a_hostile_model_on_the_hub_only_what_is_named_is_fetched(hub, tiny_run, evaluation, payloads, tmp_path):
    load_model("run:tiny").save(tmp_path / "export")
    sha256 = load_model(str(tmp_path / "export")).sha256
    linked = json.loads(json.dumps(evaluation).replace(evaluation["made_by"]["sha256"], sha256))
    payloads.secret = f"{hub.url}/me/other/resolve/main/stolen.png"
    hostile, _ = hostile_evaluations(linked, payloads, tmp_path / RESULTS)
    files = {path.name: path.read_bytes() for path in (tmp_path / "export").iterdir()}
    files |= {RESULTS: json.dumps(hostile).encode(), "README.md": payloads().encode(), "modeling.py": b"1 / 0"}
    commit = hub.add("me/hostile", files)
    reference = f"hf://me/hostile@{commit}"
    written = write_report(reference, tmp_path / "report")
    check_html(written.html.read_text())
    assert "stolen" in " ".join(Shown(written.html.read_text()).text)  # as text
    space = space_files(reference)
    write_text(tmp_path / "space.md", space["README.md"].decode())
    check_markdown(tmp_path / "space.md")
    fetched = {asked.rpartition("/")[2] for asked in hub.requests if "/resolve/" in asked}
    assert fetched == {WEIGHTS, CONFIG, RESULTS}


# -- a pipeline of diffusers ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_texts_of_a_pipeline_are_text(payloads, tmp_path, hub, open_page):
    folder = save(tmp_path / "pipeline")
    parts = {path: json.loads((folder / path).read_text())
             for path in (INDEX, f"unet/{UNET}", f"scheduler/{SCHEDULER}")}  # fmt: skip
    together = {path: json.loads(json.dumps(whole)) for path, whole in parts.items()}

    def refusal(changed) -> str | None:
        for path, whole in changed.items():
            (folder / path).write_text(json.dumps(whole))
        try:
            load_model(str(folder))
        except DDPMError as error:
            return str(error)
        return None

    refused = []
    for path, whole in parts.items():
        for way, key in list(places(whole)):
            text = payloads()
            single = parts | {path: altered(whole, way, key, text)}
            if error := refusal(single):
                refused.append(single)
                write_text(tmp_path / "reason.md", f"Not available: **x**: {as_sentence(error)}.")
                check_markdown(tmp_path / "reason.md")
            else:
                together[path] = altered(together[path], way, key, text)
    assert refusal(together) is None
    assert len(refused) > 5
    for k, parts in enumerate([together, *refused[::8]]):
        for path, whole in parts.items():
            (folder / path).write_text(json.dumps(whole))
        reference = f"hf://them/pipeline{k}"
        hub.add(reference.removeprefix("hf://"), {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        })  # fmt: skip
        app = open_page("pages/playground.py", play_model=reference, play_count="1", play_steps="2")
        check_page(app)
        if buttons := [button for button in app.button if button.key == "play_model_download"]:
            check_page(buttons[0].click().run())
        assert not app.exception


# -- words and cells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run `a --b` of *c*", "run `a --b` of \\*c\\*"),
        ("not `closed of *c*", "not \\`closed of \\*c\\*"),
        ("no `` code", "no \\`\\` code"),
        ("a\n\n# b `c\n\nd`", "a # b `c d`"),
    ],
)
def test_a_sentence_keeps_its_code(text, shown):
    assert as_sentence(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\uff1d1", "\n-x"])
def test_text_is_no_formula_in_a_table_and_numbers_are_numbers(text):
    assert as_cell(text) == f"'{text}"
    for value in (-1, -1.5, 2, "", "a=1", "linear", None):
        assert as_cell(value) is value
