"""The documents tell the truth: what they link exists, their Python runs, and their commands are commands."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

import ddpm
from tests.commands import check_command
from tests.conftest import ROOT

PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
README = PAGES["README.md"]
INSIDE = [name for name in PAGES if name.startswith("docs/")]
SHORTER = {"num_steps=100": "num_steps=5"}  # what a test has no time for


def blocks(text: str, language: str) -> list[tuple[int, str, str]]:
    """The fenced blocks of a language: line, what stands behind the language's name, content."""
    found = re.finditer(rf"^```{language}\b *(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    return [(text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*\n(?:.*\n)*?```$", "", text, flags=re.MULTILINE)


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\((?!https?://)([^)\s]+)\)", without_blocks(text)))


def anchors(text: str) -> list[str]:
    """The names that a link may end in, as GitHub makes them of headings, and those that are written out."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    made = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return made + re.findall(r'<a id="([^"]+)">', text)


def commands(text: str) -> set[str]:
    """What is to be typed: lines of blocks, code within a sentence, and what a comment says a picture was made by."""
    lines = [line.partition(" #")[0].strip() for _, _, block in blocks(text, "bash") for line in block.splitlines()]
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", without_blocks(text))
    typed = [code for code in inline if re.match(r"([A-Z_]+=\S+ )*(make|bash|torchrun|python -m|ddpm) \w", code)]
    comments = re.findall(r"<!-- (python -m .+?) -->", text)
    return {line for line in [*lines, *typed, *comments] if line and not line.startswith("#")} - {"python -m ddpm"}


@pytest.mark.parametrize(
    ("page", "target"), [(page, target) for page in PAGES for target in sorted(links(PAGES[page]))]
)
def test_every_link_leads_somewhere(page, target):
    file, _, anchor = target.partition("#")
    path = (ROOT / page).parent / file if file else ROOT / page
    assert path.is_file()
    if anchor:
        assert anchor in anchors(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in sorted(commands(PAGES[page]))])
def test_every_command_exists_with_its_options(page, line):
    check_command(line)


EXAMPLES = [
    pytest.param(page, line, kind, code, id=f"{page}:{line}")
    for page, text in PAGES.items()
    for line, kind, code in blocks(text, "python")
]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line", "kind", "code"), EXAMPLES)
def test_every_example_runs(page, line, kind, code, tmp_path, monkeypatch):
    """But for those that begin with ```python fragment, which are reported as skipped."""
    assert kind in ("", "fragment")
    if kind == "fragment":
        pytest.skip(f"{page}:{line} says that it is a fragment")
    monkeypatch.chdir(tmp_path)
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    registries = [(names, dict(names)) for names in (ddpm.SAMPLERS, ddpm.SCHEDULES, ddpm.DATASETS)]
    try:
        exec(compile("\n" * line + code, page, "exec"), {"__name__": "example"})
    finally:  # what an example has registered
        for names, before in registries:
            for name in set(names) - set(before):
                del names[name]
    for written in re.findall(r'(?:save|Path)\("([\w.]+)"\)', code):
        assert (tmp_path / written).stat().st_size > 1000


def test_the_reference_is_what_the_docstrings_say():
    assert runpy.run_path(str(ROOT / "docs" / "api.py"))["page"]() == PAGES["docs/api.md"], "run python -m docs.api"


def test_there_are_examples():
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("page", PAGES)
def test_every_config_shown_has_fields_that_exist(page):
    for _, _, text in blocks(PAGES[page], "yaml"):
        for section, values in yaml.safe_load(text).items():
            assert values.keys() <= ddpm.Config.model_fields[section].annotation.model_fields.keys()


def test_every_setting_of_the_environment_stands_in_the_table():
    files = [path for folder in ("ddpm", "pages") for path in (ROOT / folder).rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    used = {name for source in sources for name in re.findall(r'"(DDPM_[A-Z_]+)"', source)}
    assert used == set(re.findall(r"^\| `(DDPM_[A-Z_]+)` \|", PAGES["docs/settings.md"], re.MULTILINE))


def test_every_promise_of_security_names_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", PAGES["SECURITY.md"]))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 40
    assert named <= there, named - there


@pytest.mark.parametrize("page", ["README.md", *INSIDE])
def test_every_file_of_the_tests_that_is_named_exists(page):
    named = re.findall(r"`(?:tests/)?((?:browser/)?test_\w+\.py)`", PAGES[page])
    assert {name for name in named if not (ROOT / "tests" / name).is_file()} == set()


def test_the_readme_is_read_in_a_minute():
    lines = README.splitlines()
    assert len(lines) <= 180
    assert max(len(line) for line in lines if line.startswith("|")) <= 150, "a table wider than a screen"
    assert (ROOT / "docs" / "dragging.gif").stat().st_size < 2_000_000


def test_the_numbers_of_the_readme_stand_in_the_docs_with_their_command():
    section = README.partition("## How fast and how good")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"][2:]
    assert len(rows) == 5
    for _, ours, beside, command in rows:
        page = PAGES["docs/benchmarks.md" if "make bench" in command else "docs/evaluation.md"]
        assert command in page
        for number in (ours, beside.partition(",")[0]):
            assert f"| {number} " in page, number


@pytest.mark.parametrize("page", INSIDE)
def test_every_page_says_first_whom_it_is_for_and_is_listed(page):
    title, _, sentence, *_ = PAGES[page].splitlines()
    assert title.startswith("# ")
    assert sentence.startswith("For ")
    name = Path(page).name
    assert name == "README.md" or f"({name})" in PAGES["docs/README.md"]
    assert name == "README.md" or f"({page})" in README


def test_the_glossary_has_one_entry_for_each_term():
    glossary = PAGES["docs/glossary.md"]
    found = anchors(glossary)
    assert len(found) == len(set(found))
    wanted = {"x_t", "x0", "eps", "v", "alpha_bar", "snr", "log-snr", "schedule", "timestep", "forward-process",
              "reverse-process", "sampler", "ode", "sde", "guidance", "guidance-interval", "nfe", "ema", "calibration",
              "frechet-distance", "precision-and-recall", "lpips", "psnr", "ssim", "memorisation-ratio", "spacing",
              "eta", "zero-terminal-snr"}  # fmt: skip
    assert wanted <= set(found)


@pytest.mark.skipif(not (ROOT / "ddpm" / "storage").is_dir(), reason="the layout shown is the one that is planned")
def test_what_the_layout_shows_exists():
    (layout,) = re.findall(r"## Layout\n\n```\n(.*?)```", README, re.DOTALL)
    for line in layout.splitlines():
        for name in re.findall(r"[\w.]+(?:\.py|/)(?=,? )", line):
            assert (ROOT / ("ddpm" if line.startswith(" ") else "") / name).exists(), name
