"""The whole of diffusion in sixty lines: two moons, learned and drawn. `python docs/sixty_lines.py` prints points."""

import math
from itertools import pairwise

import torch
from torch import nn

T = 200  # timesteps
BETA = torch.linspace(1e-4, 0.1, T)  # the variance of the noise that each step adds
ALPHA_BAR = torch.cumprod(1 - BETA, 0)  # what is left of the data's variance after t steps


def moons(n):
    """The data: two half circles."""
    angle, side = math.pi * torch.rand(n), torch.randint(0, 2, (n,)) * 2 - 1
    x = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1) * side[:, None]
    return x + 0.05 * torch.randn(n, 2)


class Network(nn.Module):  # it sees a noisy point and t, and says which noise is in it
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2))

    def forward(self, x, t):
        waves = (t / T)[:, None] * math.pi * torch.tensor([1, 2, 4, 8])
        return self.layers(torch.cat([x, waves.sin(), waves.cos()], 1))


def train(network, steps):
    """Find the noise: the whole of training (Ho et al. 2020, algorithm 1)."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(steps):
        x0, t, eps = moons(512), torch.randint(0, T, (512,)), torch.randn(512, 2)
        ab = ALPHA_BAR[t][:, None]
        x_t = ab.sqrt() * x0 + (1 - ab).sqrt() * eps  # the forward process, in one step (eq. 4)
        loss = (network(x_t, t) - eps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def draw(network, n, steps=50):
    """From noise to data: guess the point behind the noise, go there with a little less of it (DDIM, eta = 0)."""
    x = torch.randn(n, 2)
    times = [*range(T - 1, 0, -T // steps), -1]
    for t, after in pairwise(times):
        eps, ab = network(x, torch.full((n,), t)), ALPHA_BAR[t]
        x0 = (x - (1 - ab).sqrt() * eps) / ab.sqrt()
        ab = ALPHA_BAR[after] if after >= 0 else torch.tensor(1.0)
        x = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
    return x


if __name__ == "__main__":
    network = Network()
    train(network, steps=3000)
    print("\n".join(f"{x:6.2f} {y:6.2f}" for x, y in draw(network, 20)))
