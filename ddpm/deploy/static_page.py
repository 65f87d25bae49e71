"""A model as a folder of static files: a page that runs it in the visitor's own browser, with no server to compute.

The network is stored as ONNX, the schedule as JSON, the samplers and the noise as JavaScript (``ddpm/deploy/static``);
onnxruntime-web runs the network, with WebGPU if available, else with WebAssembly.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.schema import Config
from ..editing import STRENGTH
from ..errors import DDPMError, ModelError
from ..files import atomic_write
from ..media.strokes import A_THREE, LOWER_HALF
from ..models import Model, load_model, without_places
from ..quantities import size_text
from ..unet import UNet
from .lessons_page import lessons_json
from .onnx_file import WEIGHTS, onnx_bytes
from .plane_page import plane_json
from .readme import static_readme

ASSETS = Path(__file__).parent / "static"
RUNTIME = "onnxruntime-web@1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPTS = ("ort.wasm.bundle.min.mjs", "ort.webgpu.bundle.min.mjs")
BINARIES = ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.asyncify.wasm")  # of ort.wasm, of ort.webgpu
RUNTIME_BYTES = 10_500_000  # of these four files, gzipped
MAX_BYTES = 25_000_000
MAX_STEPS = 100
SAMPLERS = ("ddim", "dpmpp_2m", "ddpm")  # as many as sampling.js has
START_STEPS = 20
NETWORK = "model.onnx"


def static_files(
    *references: str,
    weights: str = "fp16",
    links: Mapping[str, str] | None = None,
    runtime: Path | None = None,
    tell: Callable[[str], None] = lambda doing: None,
) -> dict[str, bytes]:
    """The files of a static page that samples models, by their names.

    Args:
        references: the models, the one that the page opens with first.
        weights: how they are stored, fp16 or fp32; the network computes in float32 either way.
        links: texts and addresses for the foot of the page.
        runtime: the archive of ``RUNTIME``, if you have it; else npm fetches it, once per machine.
        tell: told what is done next.

    Raises:
        ModelError: no such model, one that cannot be exported, a pipeline of diffusers say, or models that are too
            large together or have the same name.
        DDPMError: the runtime cannot be fetched, or is not the expected one.
    """
    models = [load_model(reference) for reference in references]
    _check_exportable(models, weights)
    tell(f"packing {RUNTIME}, which runs networks in a browser")
    files = _runtime_files(runtime)
    files |= {path.name: path.read_bytes() for path in ASSETS.iterdir()}
    files["plane.json"] = plane_json()
    tell("drawing the pictures of the lessons, which takes longest")
    files["lessons.json"] = lessons_json({model.config.name for model in models})
    networks = [NETWORK, *(f"model-{number}.onnx" for number in range(2, len(models) + 1))]
    for name, model in zip(networks, models, strict=True):
        tell(f"turning {model.source} into {name}")
        files[name] = onnx_bytes(model, weights)
    version = "ddpm-lab-" + hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:16]
    files["sw.js"] = files["sw.js"].replace(b"{version}", version.encode())
    shell = ["./", *sorted(name for name in files if name != "index.html"), "model.json"]
    page = {
        "drawings": {"sketch": A_THREE, "mask": LOWER_HALF},
        "strength": STRENGTH,
        "models": [description(model) | {"weights": name} for name, model in zip(networks, models, strict=True)],
        "links": dict(links or {}),
        "version": version,
        "bytes": {name: len(content) for name, content in files.items()},
        "offline": [name for name in shell if name != "sw.js"],
    }
    files["model.json"] = json.dumps(page, ensure_ascii=False).encode()
    files["README.md"] = static_readme(models, RUNTIME).encode()
    return dict(sorted(files.items()))


def _check_exportable(models: Sequence[Model], weights: str) -> None:
    parameters = 0
    for model in models:
        if not isinstance(model.network, UNet):
            raise ModelError(
                f"{model.source} is a pipeline of diffusers: a static page takes this project's own networks"
            )
        parameters += sum(parameter.numel() for parameter in model.network.parameters())
    sources = ", ".join(model.source for model in models)
    needed = parameters * WEIGHTS[weights].itemsize
    if needed + RUNTIME_BYTES > MAX_BYTES:
        raise ModelError(
            f"{sources}: too large for a static page, {size_text(needed)} of {weights} weights beside "
            f"{size_text(RUNTIME_BYTES)} of runtime, where {size_text(MAX_BYTES)} are the most"
        )
    if len({model.config.name for model in models}) < len(models):
        raise ModelError(f"a static page tells its models apart by their names: {sources} have the same")


def description(model: Model) -> dict[str, Any]:
    """What the page needs to know of a model besides the network."""
    config, sampling, schedule = model.config, model.config.sampling, model.schedule
    counts = config.model.step_counts
    most = counts[-1] if counts else min(schedule.num_timesteps, MAX_STEPS)
    samplers = SAMPLERS[:1] if counts else SAMPLERS
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    size = "x".join(map(str, config.image_shape[1:]))
    return {
        "name": config.name,
        "about": f"The model is “{config.name}”: {size} pixels, trained on {_learned_from(config)}, "
        f"{parameters / 1e6:.2f} million parameters, turned into a page by python -m ddpm static.",
        "shape": config.image_shape,
        "numClasses": config.model.num_classes,
        "classNames": config.class_names,
        "predictionType": config.diffusion.prediction_type,
        "clip": sampling.clip,
        "guidanceInterval": sampling.guidance_interval,
        "alphasCumprod": schedule.alphas_cumprod.tolist(),
        "spacing": sampling.spacing,
        "samplers": samplers,
        "stepCounts": counts or list(range(1, most + 1)),
        "distilled": bool(counts),
        "start": {
            "sampler": sampling.sampler if sampling.sampler in samplers else samplers[0],
            "steps": sampling.num_steps if counts else min(START_STEPS, most),
            "guidance": sampling.guidance_scale,
        },
    }


def _learned_from(config: Config) -> str:
    data = without_places(config).data
    return f"the images “{data.path}”" if data.dataset == "folder" else data.dataset


# -- the runtime ---------------------------------------------------------------------------------------------------


def _runtime_files(archive: Path | None) -> dict[str, bytes]:
    """The files of onnxruntime-web that the page loads; WebAssembly gzipped, since not every file server does that."""
    content = _runtime_archive(archive)
    with tarfile.open(fileobj=io.BytesIO(content)) as package:

        def read(name: str) -> bytes:
            return package.extractfile(f"package/dist/{name}").read()

        scripts = {f"ort/{name}": read(name) for name in SCRIPTS}
        return scripts | {f"ort/{name}.gz": gzip.compress(read(name), 9, mtime=0) for name in BINARIES}


def _runtime_archive(archive: Path | None) -> bytes:
    kept = archive or _cache() / f"{RUNTIME.replace('@', '-')}.tgz"
    if not archive and not kept.is_file():
        _fetch_runtime(kept)
    content = kept.read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != INTEGRITY:
        raise DDPMError(f"{kept} is not {RUNTIME}: its hash is {found[:20]}..., not {INTEGRITY[:20]}...; delete it")
    return content


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddpm-lab"


def _fetch_runtime(target: Path) -> None:
    remedy = f"`npm pack {RUNTIME}` elsewhere makes a .tgz, which --runtime takes"
    npm = shutil.which("npm")
    if not npm:
        raise DDPMError(f"{RUNTIME} comes from npm, which is not installed here: install Node.js, or {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", RUNTIME, "--pack-destination", folder, "--silent"]
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or not packed:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise DDPMError(f"npm could not fetch {RUNTIME} ({said[-1] if said else 'it said nothing'}); {remedy}")
        with atomic_write(target) as temporary:
            shutil.copyfile(packed[0], temporary)
