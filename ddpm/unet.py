"""UNet(x, t, y): FiLM-conditioned residual blocks and multi-head self-attention (Ho et al. 2020, appendix B).

Two departures from the original, both for the sake of speed at small sizes:

- ``patch_size`` p > 1 folds p x p pixels into channels, so that the trunk runs on 1/p^2 of the positions;
- ``stem_channels`` adds one thin residual block before and after the trunk at full resolution, joined by a skip: the
  trunk decides what is drawn, the stem and the head how the pixels of an edge look.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # of every GroupNorm; channels are multiples of it
STEPS_EMBEDDING = "steps_embedding.weight"  # what a distilled network has beside the weights of its teacher


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of t (B,) into (B, dim) (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zero_init(layer: nn.Module) -> nn.Module:
    """Start a layer at zero, so that its branch begins as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResBlock(nn.Module):
    """GroupNorm, SiLU, conv, FiLM (Perez et al. 2018), SiLU, conv; (B, in, H, W), (B, emb) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, emb_channels: int, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.film = nn.Linear(emb_channels, 2 * out_channels)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Multi-head self-attention over the positions of (B, C, H, W), with a residual connection."""

    def __init__(self, channels: int, head_channels: int):
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(-1, -2)
        attended = F.scaled_dot_product_attention(*qkv.unbind(1))
        return x + self.out(attended.transpose(-1, -2).reshape(b, c, h, w))


class Block(nn.Module):
    """A residual block, followed by attention at the chosen resolutions."""

    def __init__(self, in_channels: int, out_channels: int, emb: int, dropout: float, head_channels: int | None):
        super().__init__()
        self.res = ResBlock(in_channels, out_channels, emb, dropout)
        self.attention = Attention(out_channels, head_channels) if head_channels else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.attention(self.res(x, emb))


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNet(nn.Module):
    """The denoising network.

    Args:
        image_size, in_channels: the shape of the images, (in_channels, image_size, image_size).
        base_channels: channels of the trunk's first level; ``channel_mult`` multiplies it, one entry per level.
        num_res_blocks: residual blocks per level on the way down; one more on the way up.
        attention_resolutions: heights of feature maps that get self-attention, with heads of ``head_channels``.
        dropout: in residual blocks, 0..1.
        num_classes: K > 0 makes it class-conditional; label K is the null class. 0: unconditional.
        patch_size: pixels folded into channels before the trunk (pixel-unshuffle).
        stem_channels: width of the full-resolution stem and head; 0 for none.
        step_counts: the numbers of steps that a distilled network draws in, each with an embedding; () for none.

    The sizes are checked by ``ddpm.config``, which is where they come from.
    """

    def __init__(
        self,
        *,
        image_size: int,
        in_channels: int,
        base_channels: int,
        channel_mult: tuple[int, ...],
        num_res_blocks: int,
        attention_resolutions: tuple[int, ...],
        head_channels: int,
        dropout: float,
        num_classes: int,
        patch_size: int,
        stem_channels: int,
        step_counts: tuple[int, ...] = (),
    ):
        super().__init__()
        self.num_classes, self.patch_size, self.base_channels = num_classes, patch_size, base_channels
        emb = 4 * base_channels
        self.time_mlp = nn.Sequential(nn.Linear(base_channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.class_embedding = nn.Embedding(num_classes + 1, emb) if num_classes else None
        # Zero at first: a student begins as its teacher.
        self.steps_embedding = zero_init(nn.Embedding(len(step_counts), emb)) if step_counts else None

        pixels = stem_channels or in_channels  # channels at full resolution on either side of the trunk
        if stem_channels:
            self.stem_in = nn.Conv2d(in_channels, stem_channels, 3, padding=1)
            # A pixel's position is cheap to provide and expensive to infer: resized images have a phase, digits a
            # frame, and a convolution sees neither beyond its padding.
            self.position = nn.Parameter(torch.zeros(1, stem_channels, image_size, image_size))
            self.stem = ResBlock(stem_channels, stem_channels, emb, dropout)
            self.head = ResBlock(2 * stem_channels, stem_channels, emb, dropout)
        else:
            self.stem_in = None

        def block(in_channels: int, out_channels: int, resolution: int) -> Block:
            heads = head_channels if resolution in attention_resolutions else None
            return Block(in_channels, out_channels, emb, dropout, heads)

        widths = [base_channels * m for m in channel_mult]
        resolution, channels = image_size // patch_size, base_channels
        self.conv_in = nn.Conv2d(pixels * patch_size**2, channels, 3, padding=1)
        self.down, self.downsample, skips = nn.ModuleList(), nn.ModuleList(), [channels]
        for level, width in enumerate(widths):
            blocks = nn.ModuleList()
            for _ in range(num_res_blocks):
                blocks.append(block(channels, width, resolution))
                channels = width
                skips.append(channels)
            self.down.append(blocks)
            if level < len(widths) - 1:
                self.downsample.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
                resolution //= 2
        heads = head_channels if resolution in attention_resolutions else None
        self.middle1 = Block(channels, channels, emb, dropout, heads)
        self.middle2 = Block(channels, channels, emb, dropout, None)

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            blocks = nn.ModuleList()
            for _ in range(num_res_blocks + 1):
                blocks.append(block(channels + skips.pop(), width, resolution))
                channels = width
            self.up.append(blocks)
            if level > 0:
                self.upsample.append(Upsample(channels))
                resolution *= 2

        self.norm_out = nn.GroupNorm(GROUPS, channels)
        if stem_channels:
            self.conv_out = nn.Conv2d(channels, pixels * patch_size**2, 3, padding=1)
            self.head_norm = nn.GroupNorm(GROUPS, stem_channels)
            self.head_out = zero_init(nn.Conv2d(stem_channels, in_channels, 3, padding=1))
        else:
            self.conv_out = zero_init(nn.Conv2d(channels, pixels * patch_size**2, 3, padding=1))

    @property
    def null_label(self) -> int | None:
        """The label that means "no class"; None for an unconditional network."""
        return self.num_classes or None

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, n: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W); t: (B,) long; y: (B,) long in 0..num_classes, or (B, num_classes + 1) floats, shares of
        classes to mix, None for no class; n: (B,) long, the place in step_counts of the number of steps, None as the
        teacher. Returns (B, C, H, W)."""
        emb = self.time_mlp(timestep_embedding(t, self.base_channels))
        if self.class_embedding is not None:
            y = torch.full_like(t, self.num_classes) if y is None else y
            mixed = y.is_floating_point()
            emb = emb + (y @ self.class_embedding.weight if mixed else self.class_embedding(y))
        if n is not None:
            emb = emb + self.steps_embedding(n)
        emb = F.silu(emb)
        if self.stem_in is None:
            return F.pixel_shuffle(self.trunk(F.pixel_unshuffle(x, self.patch_size), emb), self.patch_size)
        # bf16 keeps 8 bits of a pixel, less than the noise at small t: the layers that touch pixels stay in float32.
        with torch.autocast(x.device.type, enabled=False):
            h = self.stem_in(x.float()) + self.position
        stem = self.stem(h, emb)
        h = F.pixel_shuffle(self.trunk(F.pixel_unshuffle(stem, self.patch_size), emb), self.patch_size)
        h = F.silu(self.head_norm(self.head(torch.cat([h, stem], dim=1), emb)))
        with torch.autocast(x.device.type, enabled=False):
            return self.head_out(h.float())

    def trunk(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv_in(x)
        skips = [h]
        for level, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h, emb)
                skips.append(h)
            if level < len(self.downsample):
                h = self.downsample[level](h)
                skips.append(h)
        h = self.middle2(self.middle1(h, emb), emb)
        for level, blocks in enumerate(self.up):
            for block in blocks:
                h = block(torch.cat([h, skips.pop()], dim=1), emb)
            if level < len(self.upsample):
                h = self.upsample[level](h)
        return self.conv_out(F.silu(self.norm_out(h)))
