"""The house: who may import whom, what ``import ddpm`` loads, and which names are public."""

import ast
import inspect
import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

import ddpm
from tests.conftest import ROOT

PACKAGE = ROOT / "ddpm"
LAYERS = [  # a module imports from its own layer or an earlier one
    ["errors", "escaping", "files", "quantities", "randomness", "torchvision_cpu"],
    ["unet", "cost", "options", "extensions"],
    ["device", "names", "schedule", "spacing", "image_folder.decode", "image_folder.manifest", "jobs", "datasets"],
    ["diffusion"],
    ["samplers"],
    ["config"],
    ["image_folder", "data", "storage"],
    ["models"],
    ["sampling"],
    ["editing", "plane"],
    ["training", "evaluation", "metrics"],
    ["media"],
    ["lessons"],
    ["deploy"],
    ["cli", "__main__"],
]
FLOORS = 16  # modules of the longest chain, each of which imports the one below it
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = (
    "streamlit",
    "plotly",
    "lpips",
    "huggingface_hub",
    "torchvision",
    "torchmetrics",
    "matplotlib",
    "diffusers",
    "onnx",
    "onnxscript",
    "jinja2",
    "tensorboard",
    "trackio",
    "wandb",
)


def imported_modules(path) -> set[str]:
    """The modules of ddpm that a file imports at run time, as dotted names below ``ddpm``; also inside functions."""
    package = ["ddpm", *path.relative_to(PACKAGE).parts[:-1]] if path.is_relative_to(PACKAGE) else []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("ddpm.") for name in found if name.startswith("ddpm.")}


SOURCES = sorted(PACKAGE.rglob("*.py"))
INNER = [path for path in SOURCES if path != PACKAGE / "__init__.py"]


def layer_of(module: str) -> int | None:
    """The layer of a module, or of the nearest package around it that has one."""
    while module and module not in RANK:
        module = module.rpartition(".")[0]
    return RANK.get(module)


def dotted(path) -> str:
    return str(path.relative_to(PACKAGE)).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@pytest.mark.parametrize("path", INNER, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = layer_of(dotted(path))
    assert own is not None, f"{dotted(path)} has no layer yet: give it one here"
    for name in imported_modules(path):
        if (other := layer_of(name)) is not None:
            assert other <= own, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.slow
def test_no_modules_import_each_other_in_a_circle_and_no_chain_of_imports_is_long():
    modules = {dotted(path): path for path in INNER}
    edges = {name: imported_modules(path) & modules.keys() - {name} for name, path in modules.items()}
    floors = []
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in leaves}
        floors.append(sorted(leaves))
    assert not edges, f"these import each other: {sorted(edges)}"
    assert len(floors) <= FLOORS, f"the house grew; from the roof down: {floors[::-1]}"


@pytest.mark.slow
def test_the_library_knows_neither_the_app_nor_streamlit():
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        assert not {name.split(".")[0] for name in names} & {"streamlit", "pages"}, path


def test_the_training_loop_draws_no_picture():
    for path in (PACKAGE / "training").glob("*.py"):
        assert not any(name.startswith(("media", "samplers")) for name in imported_modules(path)), path


def test_no_file_is_called_utils():
    assert [
        path for path in [*SOURCES, *ROOT.glob("pages/**/*.py")] if "util" in path.stem or path.stem == "helpers"
    ] == []


def test_a_file_can_be_read_in_one_sitting():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def _is_string(statement) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and (
        isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))
    )


def _documentation(node) -> set:
    """The strings that document a module, class or function, and those behind the fields of the first two."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    fields = () if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else pairwise(node.body)
    behind = {after for before, after in fields if isinstance(before, ast.Assign | ast.AnnAssign)}
    return {node.body[0], *behind} if node.body else set()


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["ddpm", "pages", "benchmarks", "tests", "."])
def test_no_string_stands_alone_as_the_end_of_a_sentence_that_its_assignment_lost(folder):
    for path in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        documentation = set().union(*map(_documentation, nodes))
        alone = [node.lineno for node in nodes if _is_string(node) and node not in documentation]
        assert alone == [], path


@pytest.mark.slow
def test_import_ddpm_loads_nothing_heavy():
    code = f"import sys, json, ddpm; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert json.loads(result.stdout) == []
    assert result.stderr == ""


def test_the_public_names_are_these():
    assert ddpm.__all__ == [
        "DATASETS",
        "SAMPLERS",
        "SCHEDULES",
        "Config",
        "ConfigError",
        "DDPMError",
        "DataError",
        "Guide",
        "HubError",
        "ImageSet",
        "MetricError",
        "Model",
        "ModelError",
        "NoiseSchedule",
        "Prediction",
        "SamplingConfig",
        "Step",
        "UNet",
        "config_to_yaml",
        "diffusion_loss",
        "generate",
        "load_config",
        "load_dataset",
        "load_model",
        "make_denoiser",
        "make_schedule",
        "option",
        "q_posterior",
        "q_sample",
        "register_dataset",
        "register_sampler",
        "register_schedule",
        "sample",
        "spaced_timesteps",
        "to_prediction",
        "train",
    ]


@pytest.mark.parametrize("name", ddpm.__all__)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(ddpm, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        # A docstring of its own: pydantic and NamedTuple write one where there is none.
        source = ast.parse(inspect.getsource(value))
        assert ast.get_docstring(source.body[0]), name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body


def test_the_errors_are_one_family():
    assert issubclass(ddpm.ConfigError, ddpm.DDPMError)
    assert issubclass(ddpm.ConfigError, ValueError)
    assert issubclass(ddpm.ModelError, ddpm.DDPMError)
    assert issubclass(ddpm.DataError, ddpm.DDPMError)
