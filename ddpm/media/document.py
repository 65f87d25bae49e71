"""Pieces of Markdown, and from Markdown to one HTML file that needs nothing beside it: its images are inside."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from collections.abc import Container, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --quiet: #5c6570; --line: #d8dce1; --tint: #f4f5f7;
  --accent: #655da8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --paper: #16181c; --quiet: #9aa3ad; --line: #363b42; --tint: #1f2227; --accent: #aba4e8; } }
body { max-width: 48rem; margin: 0 auto; padding: 2rem 1.2rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; margin: 2.2em 0 .6em; }
h1 { margin-top: 0; } h2 { border-bottom: 1px solid var(--line); padding-bottom: .25em; }
a { color: var(--accent); } em { color: var(--quiet); }
img { max-width: 100%; background: #fff; border-radius: 4px; }
p:has(img + img) { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: .6rem; }
.wide { overflow-x: auto; margin: 1em 0; }
table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .8em .3em 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
tr:has(td:nth-child(4)) > td { white-space: nowrap; }
table:has(td:nth-child(8)) { font-size: .8em; }
code { font: .88em ui-monospace, Menlo, Consolas, monospace; background: var(--tint); padding: .1em .3em;
  border-radius: 3px; }
pre { background: var(--tint); padding: .8em 1em; overflow-x: auto; border-radius: 4px; }
pre code { padding: 0; background: none; }
@media print { body { max-width: none; } }
"""
# Whatever got into a page, a browser fetches and runs nothing of it.
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
PAGE = Template(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>{STYLE}</style>
</head>
<body>
$body
</body>
</html>
""")


def to_html(markdown: str, title: str, folder: Path, figures: Container[str]) -> str:
    """An HTML page of CommonMark with tables, without links.

    Args:
        figures: the names of the images of ``folder`` that are put inside, as data URIs; of any other image only its
            description is shown.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink"])
    parser.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(markdown)
    for image in (child for token in tokens for child in token.children or () if child.type == "image"):
        if image.attrs["src"] in figures:
            image.attrs["src"] = data_uri(folder / str(image.attrs["src"]))
        else:
            image.type, image.tag = "text", ""
    return PAGE.substitute(title=escape(title), body=parser.renderer.render(tokens, parser.options, {}))


def data_uri(path: Path) -> str:
    """A file's content as a data URI."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


# -- pieces of Markdown: lines ---------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield _row(header)
    yield "|" + "---|" * len(header)
    for row in rows:
        yield _row(row)
    yield ""


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(re.sub(r"\\?\|", r"\|", str(cell)) for cell in cells) + " |"


def figure(file: str, alt: str, caption: str) -> Iterator[str]:
    yield f"![{alt}]({file})"
    yield ""
    yield f"*{caption}*"
    yield ""


def number(value: Any, digits: int = 3) -> str:
    """A number for a table; a dash where it is unavailable, for which the text gives the reason."""
    return f"{value:.{digits}g}" if isinstance(value, int | float) else "–"


def listed(items: Sequence[object]) -> str:
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last
