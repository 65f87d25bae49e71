"""The pictures that pages open with, drawn beforehand and shipped with the app.

``python -m pages.components.opening`` draws them again, in a second or two. Run it when the shipped model, its sampling
settings or what a page opens with has changed; until then a page draws its picture like any other. Each file is named
after all that decides its picture: the weights, the parts of the config that sampling uses, the request.
"""

import hashlib
import io
import json
import lzma
import math
import sys
from pathlib import Path

import numpy as np
import torch
from streamlit.logger import get_logger

from ddpm.config.settings import sampler_settings
from ddpm.data import to_float
from ddpm.evaluation.ladder import STEPS, Climbed, Rung, climb, plan_evaluations, reference_rung, rungs
from ddpm.media.images import Trajectory, to_uint8
from ddpm.models import Model, load_model
from ddpm.samplers import SAMPLERS

from .ladder import WIDEST, Ladder, first_of, plans
from .models import cached_model, default_model, identity
from .sampling import Request, Result, run

FOLDER = Path(__file__).parents[1] / "opening"
HOME_CLASS = 3
PLAYGROUND_IMAGES = 10
LADDER, LADDER_CLASS = "ladder.npz.xz", 3  # its file, and what it draws


def opening_requests(model: Model) -> list[Request]:
    """What Home and the Playground ask for when they are opened without a link."""
    classes, settings = tuple(range(model.num_classes)), model.config.sampling
    home = (min(HOME_CLASS, classes[-1]),) if classes else None
    return [
        Request(model.reference, 1, home, settings, 0),
        Request(model.reference, PLAYGROUND_IMAGES, classes or None, settings, 0),
    ]


def opening_picture(request: Request, model: Model) -> Result | None:
    """The picture of a request, if it came with the app.

    Raises:
        OSError, lzma.LZMAError, ValueError: its file is damaged.
    """
    path = _file(request, model)
    if not path.exists():
        return None
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False) as arrays:
        # Consecutive frames differ little: their differences take a quarter of the space.
        states = torch.from_numpy(np.cumsum(arrays["states"], axis=1, dtype=np.uint8))
        change, probabilities = torch.from_numpy(arrays["change"]), torch.from_numpy(arrays["probabilities"])
        trajectory = Trajectory(arrays["timesteps"].tolist(), *states, change)
    found = probabilities if len(probabilities) else None
    return Result(request, trajectory, model.schedule, None, found, model.sha256)


def opening_ladder() -> Ladder | None:
    """The ladder of the default model that its page opens with; None if none came with the app for this model and the
    limits of this page."""
    reference, path = default_model(), FOLDER / LADDER
    if reference is None or not path.exists():
        return None
    model = cached_model(reference)
    try:
        kept = _read_ladder(path, model)
    except (OSError, lzma.LZMAError, ValueError, KeyError) as error:
        get_logger(__name__).warning("the ladder that came with the app is damaged: %s", error)
        return None
    possible = plans(model, [LADDER_CLASS])
    plan = possible[[*possible][first_of(possible)]] if possible else []
    if not plan or not set(plan) <= kept.keys():
        return None
    return Ladder(reference, LADDER_CLASS, 0, plan, {rung: kept[rung] for rung in plan})


def _read_ladder(path: Path, model: Model) -> dict[Rung, Climbed]:
    """The rungs in a file, {} if another model climbed them."""
    with np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False) as arrays:
        if str(arrays["model"]) != identity(model):
            return {}
        known = [Rung(str(name), int(steps)) for name, steps in zip(arrays["samplers"], arrays["steps"], strict=True)]
        return {
            rung: Climbed(rung, to_float(image), plan_evaluations(model, [rung], labels=[LADDER_CLASS]), math.nan)
            for rung, image in zip(known, torch.from_numpy(arrays["images"]), strict=True)
        }


def write_opening_ladder(model: Model) -> Path:
    """Climb the ladder with both ground truths that a page may take, DDIM in all timesteps and in half of them, for a
    public page; and write it."""
    last = model.schedule.num_timesteps
    steps = [n for n in STEPS if n <= WIDEST]
    plan = [*rungs(last, steps=steps), reference_rung(last // 2)]
    found = [event for event in climb(model, plan, 1, labels=[LADDER_CLASS], seed=0) if isinstance(event, Climbed)]
    file = io.BytesIO()
    np.savez(file, model=identity(model), images=torch.stack([to_uint8(each.images) for each in found]).numpy(),
             samplers=[each.rung.sampler for each in found], steps=[each.rung.num_steps for each in found])  # fmt: skip
    path = FOLDER / LADDER
    path.write_bytes(lzma.compress(file.getvalue(), preset=9))
    return path


def write_opening_picture(result: Result, model: Model) -> Path:
    """Write a picture's file."""
    drawn, file = result.trajectory, io.BytesIO()
    states = torch.stack([drawn.x_t, drawn.x0, drawn.eps]).numpy()
    probabilities = torch.zeros(0) if result.probabilities is None else result.probabilities
    np.savez(file, timesteps=drawn.timesteps, states=np.diff(states, axis=1, prepend=np.uint8(0)),
             change=drawn.change.numpy(), probabilities=probabilities.numpy())  # fmt: skip
    path = _file(result.request, model)
    path.write_bytes(lzma.compress(file.getvalue(), preset=9))
    return path


def _file(request: Request, model: Model) -> Path:
    settings = request.settings.model_dump()
    for option in sampler_settings():  # those of other samplers have no effect
        if option.name not in SAMPLERS[request.settings.sampler].options:
            del settings[option.name]
    decides = json.dumps([identity(model), request.count, request.labels, request.seed, request.rolled, settings],
                         sort_keys=True)  # fmt: skip
    return FOLDER / f"{hashlib.sha256(decides.encode()).hexdigest()[:16]}.npz.xz"


def main() -> None:
    reference = default_model()
    if reference is None:
        sys.exit("no model is shipped with this copy")
    model = load_model(reference)
    FOLDER.mkdir(exist_ok=True)
    for stale in FOLDER.glob("*.npz.xz"):
        stale.unlink()
    for request in opening_requests(model):
        path = write_opening_picture(run(request, model), model)
        print(f"{path.relative_to(Path.cwd())}: {path.stat().st_size:,} bytes")
    path = write_opening_ladder(model)
    print(f"{path.relative_to(Path.cwd())}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
