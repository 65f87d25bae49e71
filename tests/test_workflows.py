"""What runs on GitHub and before a commit: its commands exist, its versions are pinned, and its rights are few."""

import re
import tomllib

import pytest

from tests.commands import check_command, read_yaml
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"
RIGHTS = {"tests": set(), "pages": {"pages", "id-token"}}  # beyond reading the repository


def jobs_of(path):
    return read_yaml(path)["jobs"].values()


def steps_of(path):
    return [step for job in jobs_of(path) for step in job["steps"]]


def test_there_are_workflows():
    assert {path.stem for path in WORKFLOWS} == set(RIGHTS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_command_of_a_workflow_exists(path):
    lines = [line for step in steps_of(path) for line in step.get("run", "").splitlines()]
    assert lines
    for line in lines:
        check_command(line)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_more_rights_than_it_needs(path):
    workflow = read_yaml(path)
    assert workflow["permissions"] == {"contents": "read"}
    granted = {right for job in jobs_of(path) for right in job.get("permissions", {})}
    assert granted == RIGHTS[path.stem]
    for step in steps_of(path):
        assert "actions/checkout" not in step.get("uses", "") or step["with"]["persist-credentials"] is False
    text = path.read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "secrets." not in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_githubs_own_and_pinned(path):
    for step in steps_of(path):
        assert "run" in step or re.fullmatch(r"actions/[\w-]+@v\d+(\.\d+)*", step["uses"])
    assert all(job["timeout-minutes"] <= 120 for job in jobs_of(path))
    assert all(not job["runs-on"].endswith("latest") for job in jobs_of(path))


def test_the_tests_run_on_pythons_that_the_package_allows():
    (job,) = jobs_of(ROOT / ".github" / "workflows" / "tests.yml")
    pythons = job["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={pythons[0]}"
    setup = (ROOT / ".ci" / "setup").read_text(encoding="utf-8")
    assert all(re.search(rf"^ +[0-9. |]*{re.escape(python)}\b", setup, re.MULTILINE) for python in pythons)


def test_the_page_that_is_published_is_the_folder_that_was_built():
    steps = steps_of(ROOT / ".github" / "workflows" / "pages.yml")
    built = [step["run"].split()[-1] for step in steps if " static " in step.get("run", "")]
    published = [step["with"]["path"] for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert built == published != []


def test_the_hooks_lint_and_format_with_the_pinned_ruff():
    repos = {repo["repo"].rpartition("/")[2]: repo for repo in read_yaml(HOOKS)["repos"]}
    ruff = repos["ruff-pre-commit"]
    assert f"ruff=={ruff['rev'].removeprefix('v')}\n" in (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    basics = {hook["id"] for hook in repos["pre-commit-hooks"]["hooks"]}
    assert basics == {"end-of-file-fixer", "trailing-whitespace", "check-yaml", "check-added-large-files"}
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"]) for repo in repos.values())
    excluded = re.compile(read_yaml(HOOKS)["exclude"])
    assert excluded.search("ddpm/pretrained/mnist/evaluation_results.json")
    assert not excluded.search("ddpm/samplers.py")
