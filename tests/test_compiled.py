"""A compiled network is the same network: in training, in sampling, and where it cannot be compiled."""

import copy
import os

import pytest
import torch

from ddpm.config import SamplingConfig
from ddpm.data import load_dataset
from ddpm.device import Compiled
from ddpm.errors import DDPMError
from ddpm.sampling import generate
from ddpm.training.estimate import measure_speed
from ddpm.training.events import Progress, Validated
from ddpm.training.loop import TrainState, train

# Kernels take minutes to build. Without them the network is traced as ever, and run operation by operation.
SOAK = bool(os.environ.get("DDPM_SOAK"))
BACKENDS = ["eager", *(["inductor"] if SOAK else [])]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PRECISIONS = {"fp32": 1e-4, "bf16": 2e-2} if SOAK else {"fp32": 1e-4}  # by how much two learning curves may differ
compile_network = torch.compile
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # inductor's own


@pytest.fixture(params=BACKENDS)
def compilations(request, monkeypatch) -> list[dict]:
    """What is asked of torch.compile, which compiles with the backend of the test."""
    asked = []

    def compile_(network, *, mode, **how):
        asked.append(how | {"mode": mode})
        mode = mode if request.param == "inductor" else None
        return compile_network(network, backend=request.param, mode=mode, **how)

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", compile_)
    yield asked
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_has_the_same_learning_curve(tiny_config, compilations, device, precision):
    curves = {}
    for compiled in (False, True):
        config = tiny_config(
            training__compile=compiled, training__epochs=8, training__device=device, training__precision=precision
        )
        data = load_dataset(config.data, "train")[torch.arange(320)], load_dataset(config.data, "val")
        curves[compiled] = [
            getattr(event, "train_loss", None) or event.val_loss
            for event in train(TrainState(config), *data) if isinstance(event, Progress | Validated)
        ]  # fmt: skip
    assert len(compilations) == 1
    assert curves[True][-1] < 0.9 * curves[True][0]
    assert curves[True] == pytest.approx(curves[False], rel=PRECISIONS[precision])


@pytest.mark.slow
def test_dropout_falls_anew_at_every_step_and_the_same_in_every_run(tiny_config, compilations):
    config = tiny_config(training__compile=True, model__dropout=0.5)
    data = load_dataset(config.data, "train")[torch.arange(128)], load_dataset(config.data, "val")[torch.arange(8)]
    runs = [TrainState(config), TrainState(config)]
    for state in runs:
        list(train(state, *data))
    ours, theirs = (state.model.state_dict().values() for state in runs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))

    network = Compiled(copy.deepcopy(runs[0].model).train())
    x, t = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    assert not torch.equal(network(x, t, t), network(x, t, t))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_sampling_draws_the_same_pictures(random_model, compilations, device):
    model = random_model(diffusion__prediction_type="eps")
    model = type(model)(model.config, model.network.to(device), model.source)
    settings = SamplingConfig(sampler="heun", num_steps=5, guidance_scale=3.0, guidance_interval=(5, 15), clip=False)
    plain, compiled = (
        generate(one, 6, labels=[1, 2, -1], settings=settings, batch_size=4) for one in (model, model.compiled())
    )
    assert compilations
    torch.testing.assert_close(compiled, plain, atol=2e-5, rtol=0)


@pytest.mark.slow
def test_the_command_line_compiles(cli, tiny_run, compilations):
    paths = []
    for flag in ([], ["--compile"]):
        done = cli("sample", "grid", "--model", "run:tiny", "--num-samples", 4, "--npz", f"{len(flag)}.npz", *flag)
        assert done.code == 0, done.err
        paths.append(done.out.split()[-1])
    assert len(compilations) == 1
    import numpy as np

    plain, compiled = (np.load(path)["images"].astype(int) for path in paths)
    assert abs(compiled - plain).max() <= 1


def test_graphs_are_for_cuda_and_for_one_process_alone(random_model, compilations):
    network = random_model().network
    assert not Compiled(network).graphs
    assert len(Compiled(network).state_dict()) == len(network.state_dict())
    assert compilations[-1] == {"fullgraph": True, "mode": None}

    class OnCuda(torch.nn.Module):
        def parameters(self, recurse=True):
            yield type("Parameter", (), {"device": torch.device("cuda")})

    assert Compiled(OnCuda()).graphs
    assert compilations[-1]["mode"] == "reduce-overhead"
    assert not Compiled(OnCuda(), graphs=False).graphs


def test_a_step_kept_from_a_graph_stays_what_it_was(random_model, monkeypatch):
    # A graph's output, which its next replay overwrites.
    place = torch.zeros(2, 1, 8, 8)
    monkeypatch.setattr(torch, "compile", lambda network, **how: lambda x, t, y: place.copy_(network(x, t, y)))
    compiled = Compiled(random_model().network)
    compiled.graphs = True
    x, t = torch.randn(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)
    with torch.inference_mode():
        first = compiled(x, t)
        before = first.clone()
        compiled(2 * x, t)
    assert torch.equal(first, before)


@pytest.mark.slow
def test_without_a_compiler_the_error_says_what_is_missing(monkeypatch):
    class Network(torch.nn.Linear):
        def forward(self, x, t, y):
            return super().forward(x)

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/nonexistent/g++"))
    torch.compiler.reset()
    with pytest.raises(DDPMError, match=r"cannot be compiled here \(.*/nonexistent/g\+\+'\)\): torch.compile needs"):
        Compiled(Network(3, 3))(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))


def test_the_costs_are_measured_without_compiling(tiny_config, compilations):
    assert measure_speed(tiny_config(training__compile=True), seconds=0.1) > 0
    assert not compilations
