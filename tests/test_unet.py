"""The network that is built is the network that the config describes."""

import math

import pytest
import torch
import torch.nn.functional as F

from ddpm.config import load_config
from ddpm.unet import GROUPS, Attention, ResBlock, UNet, timestep_embedding
from tests.conftest import ROOT

BASE = {
    "in_channels": 1,
    "image_size": 16,
    "base_channels": 16,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (8,),
    "head_channels": 8,
    "dropout": 0.0,
    "num_classes": 3,
    "patch_size": 1,
    "stem_channels": 0,
}
VARIANTS = {
    "plain": {},
    "unconditional": {"num_classes": 0},
    "patch": {"patch_size": 2, "attention_resolutions": (4,)},
    "stem": {"stem_channels": 8},
    "patch and stem": {"patch_size": 2, "stem_channels": 8, "attention_resolutions": (4, 8)},
    "colour": {"in_channels": 3, "channel_mult": (1, 1, 2), "num_res_blocks": 2},
    "no attention": {"attention_resolutions": ()},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def build(randomized: bool = True, seed: int = 0, **changes) -> UNet:
    torch.manual_seed(seed)
    network = UNet(**{**BASE, **changes}).eval()
    if randomized:  # as after some training: no layer is zero any more
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def inputs(network_or_changes, n=2):
    settings = {**BASE, **network_or_changes}
    x = torch.randn(n, settings["in_channels"], 16, 16, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([3, 800])[:n], torch.tensor([0, 2])[:n] if settings["num_classes"] else None


@every_variant
def test_a_new_network_returns_zero(variant):
    network = build(randomized=False, **VARIANTS[variant])
    x, t, y = inputs(VARIANTS[variant])
    assert torch.equal(network(x, t, y), torch.zeros_like(x))


@pytest.mark.slow
@every_variant
def test_the_output_depends_on_t_and_only_through_film(variant):
    network = build(**VARIANTS[variant])
    x, _, y = inputs(VARIANTS[variant])

    def change_with_t():
        with torch.no_grad():
            return (network(x, torch.tensor([10, 10]), y) - network(x, torch.tensor([900, 900]), y)).abs().max()

    assert change_with_t() > 1e-3
    for module in network.modules():
        if isinstance(module, ResBlock):
            torch.nn.init.zeros_(module.film.weight)
    assert change_with_t() == 0


def test_film_scales_and_shifts_the_normalised_features():
    torch.manual_seed(0)
    block = ResBlock(8, 16, emb_channels=12, dropout=0.0)
    with torch.no_grad():
        block.conv2.weight.normal_()
        x, emb = torch.randn(2, 8, 4, 4), torch.randn(2, 12)
        h = block.conv1(F.silu(F.group_norm(x, GROUPS, block.norm1.weight, block.norm1.bias)))
        film = emb @ block.film.weight.T + block.film.bias
        scale, shift = film[:, :16, None, None], film[:, 16:, None, None]
        h = F.group_norm(h, GROUPS) * (1 + scale) + shift
        torch.testing.assert_close(block(x, emb), block.skip(x) + block.conv2(F.silu(h)))


def test_a_new_residual_block_is_the_identity():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(ResBlock(8, 8, emb_channels=12, dropout=0.0)(x, torch.randn(2, 12)), x)


def test_timestep_embedding_is_the_sinusoid_of_the_transformer():
    embedding = timestep_embedding(torch.tensor([0, 1, 999]), 8)
    for row, t in zip(embedding.tolist(), (0, 1, 999), strict=True):
        angles = [t / 10_000 ** (i / 4) for i in range(4)]
        assert row == pytest.approx([math.cos(a) for a in angles] + [math.sin(a) for a in angles], abs=1e-4)


# -- classes -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_class_matters_and_no_label_is_the_null_class():
    network = build()
    x, t, _ = inputs({})
    outputs = [network(x, t, torch.full((2,), label)) for label in range(4)]
    for i in range(4):
        for j in range(i):
            assert (outputs[i] - outputs[j]).abs().max() > 1e-3
    assert network.null_label == 3
    assert torch.equal(network(x, t), outputs[3])


@torch.no_grad()
def test_each_image_of_a_batch_has_its_own_t_and_label():
    network = build()
    x, t, y = inputs({})
    both = network(x, t, y)
    for k in range(2):
        torch.testing.assert_close(
            both[k : k + 1], network(x[k : k + 1], t[k : k + 1], y[k : k + 1]), rtol=0, atol=1e-5
        )


def test_an_unconditional_network_has_no_null_label():
    assert build(num_classes=0).null_label is None


# -- attention -----------------------------------------------------------------------------------------------------


def attended_resolutions(network: UNet, image_size: int) -> dict[int, int]:
    """How many attention layers ran at each resolution, counted in a real forward pass."""
    counts: dict[int, int] = {}

    def count(module, arguments, output):
        size = arguments[0].shape[-1]
        counts[size] = counts.get(size, 0) + 1

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, Attention)]
    channels = (network.stem_in or network.conv_in).in_channels // (1 if network.stem_in else network.patch_size**2)
    with torch.no_grad():
        network(torch.zeros(1, channels, image_size, image_size), torch.zeros(1, dtype=torch.long))
    for hook in hooks:
        hook.remove()
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {8: 1 + 2 + 1}),  # blocks down, blocks up, the middle
        ({"attention_resolutions": ()}, {}),
        ({"attention_resolutions": (16,)}, {16: 1 + 2}),
        ({"attention_resolutions": (16, 8)}, {16: 3, 8: 4}),
        ({"channel_mult": (1, 1, 1), "attention_resolutions": (8,)}, {8: 3}),
        ({"channel_mult": (1, 1, 1), "attention_resolutions": (4,), "num_res_blocks": 2}, {4: 2 + 3 + 1}),
        ({"patch_size": 2, "attention_resolutions": (4,)}, {4: 4}),
        ({"patch_size": 2, "stem_channels": 8, "attention_resolutions": (8, 4)}, {8: 3, 4: 4}),
    ],
)
def test_attention_runs_at_the_configured_resolutions_and_nowhere_else(changes, expected):
    assert attended_resolutions(build(**changes), 16) == expected


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_network_of_every_config_has_the_attention_and_film_that_its_yaml_names(path):
    config = load_config(path)
    network = UNet(**config.network_arguments())
    assert attended_resolutions(network, config.data.image_size).keys() == set(config.model.attention_resolutions)
    widths = [config.model.base_channels * m for m in config.model.channel_mult]
    films = [m.film for m in network.modules() if isinstance(m, ResBlock)]
    assert len(films) == len(widths) * (2 * config.model.num_res_blocks + 1) + 2 + 2 * bool(config.model.stem_channels)
    assert all(film.in_features == 4 * config.model.base_channels for film in films)


@pytest.mark.parametrize(("channels", "head_channels", "heads"), [(16, 8, 2), (16, 16, 1), (8, 32, 1), (32, 8, 4)])
def test_attention_is_softmax_attention_per_head(channels, head_channels, heads):
    torch.manual_seed(0)
    attention = Attention(channels, head_channels)
    with torch.no_grad():
        attention.out.weight.normal_()
        attention.out.bias.normal_()
        x = torch.randn(2, channels, 3, 5)
        qkv = attention.qkv(attention.norm(x)).flatten(2)  # (B, 3C, positions)
        expected = torch.empty(2, channels, 15)
        width = channels // heads
        for image in range(2):
            for head in range(heads):
                q, k, v = (qkv[image, part * channels + head * width :][:width] for part in range(3))
                probabilities = torch.softmax(q.T @ k / math.sqrt(width), dim=1)
                expected[image, head * width : (head + 1) * width] = v @ probabilities.T
        torch.testing.assert_close(
            attention(x), x + attention.out(expected.view(2, channels, 3, 5)), rtol=1e-4, atol=1e-5
        )


# -- shapes, sizes, gradients --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("patch_size", "stem_channels"), [(1, 0), (2, 0), (4, 0), (1, 8), (2, 8)])
def test_the_trunk_runs_on_folded_pixels(patch_size, stem_channels):
    network = build(patch_size=patch_size, stem_channels=stem_channels, attention_resolutions=())
    seen = []
    network.conv_in.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0].shape))
    x, t, y = inputs({})
    assert network(x, t, y).shape == x.shape
    assert seen == [(2, (stem_channels or 1) * patch_size**2, 16 // patch_size, 16 // patch_size)]


@torch.no_grad()
def test_a_pixel_reaches_the_output_through_the_stem_alone():
    network = build(patch_size=2, stem_channels=8, attention_resolutions=())
    torch.nn.init.zeros_(network.conv_out.weight)
    torch.nn.init.zeros_(network.conv_out.bias)
    network.stem.norm1, network.head.norm1 = torch.nn.Identity(), torch.nn.Identity()
    network.stem.norm2, network.head.norm2 = torch.nn.Identity(), torch.nn.Identity()
    network.head_norm = torch.nn.Identity()  # statistics over the image would couple all pixels
    x, t, y = inputs({})
    changed = x.clone()
    changed[..., 8, 8] += 1
    where = (network(x, t, y) - network(changed, t, y)).abs().amax((0, 1)) > 0
    assert where[8, 8]
    assert not where[:2].any()  # six 3x3 convolutions see six pixels far
    assert not where[:, 15].any()


@torch.no_grad()
def test_the_stem_knows_where_a_pixel_lies():
    network = build(stem_channels=8, attention_resolutions=())
    x, t, y = inputs({})
    before = network(x, t, y)
    network.position[..., 5, 5] += 3
    assert (network(x, t, y) - before).abs().amax((0, 1))[5, 5] > 1e-3


@pytest.mark.parametrize(("name", "parameters"), [("mnist", 2_929_665), ("digits", 1_081_569)])
def test_the_shipped_configs_have_this_many_parameters(name, parameters):
    network = UNet(**load_config(ROOT / "configs" / f"{name}.yaml").network_arguments())
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.slow
@every_variant
def test_the_gradient_reaches_every_parameter_once_the_zero_layers_have_moved(variant):
    network = build(**VARIANTS[variant]).train()
    x, t, y = inputs(VARIANTS[variant])
    if y is not None:
        y = torch.tensor([1, network.null_label])
    network(x, t, y).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    if y is not None:
        rows = network.class_embedding.weight.grad.abs().amax(1) > 0
        assert rows.tolist() == [False, True, False, True]  # only the classes that were seen


def test_dropout_acts_in_training_only():
    network = build(dropout=0.5)
    x, t, y = inputs({})
    assert torch.equal(network(x, t, y), network(x, t, y))
    network.train()
    assert not torch.equal(network(x, t, y), network(x, t, y))


@torch.no_grad()
def test_under_bf16_the_stem_keeps_pixels_in_float32():
    network = build(stem_channels=8, patch_size=2, attention_resolutions=(4,))
    seen = {}
    network.stem_in.register_forward_hook(lambda module, arguments, output: seen.update(stem=output.dtype))
    network.conv_in.register_forward_hook(lambda module, arguments, output: seen.update(trunk=output.dtype))
    x, t, y = inputs({})
    with torch.autocast("cpu", torch.bfloat16):
        output = network(x, t, y)
    assert seen == {"stem": torch.float32, "trunk": torch.bfloat16}
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, network(x, t, y), rtol=0, atol=0.1 * output.abs().max().item())
