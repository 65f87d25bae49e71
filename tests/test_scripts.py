"""JavaScript and CSS stand in files of their own, which Node reads without a fault."""

import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted([*ROOT.glob("ddpm/**/*.js"), *ROOT.glob("pages/**/*.js")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_has_no_syntax_error(script, tmp_path):
    node = shutil.which("node")
    if not node:
        pytest.skip("no Node.js: install node to check the syntax of scripts outside of a browser")
    module = shutil.copy(script, tmp_path / f"{script.stem}.mjs")
    done = subprocess.run([node, "--check", module], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_script_and_no_style_sheet_is_inside_a_python_string():
    found = []
    for path in (*ROOT.glob("ddpm/**/*.py"), *ROOT.glob("pages/**/*.py")):
        text = path.read_text(encoding="utf-8")
        # A rule whose numbers Python works out may stay with them: one line.
        found += [path.name for block in re.findall(r"<(?:style|script)>(.*?)</", text, re.S) if len(block) > 120]
    assert found == []
