"""The order of convergence of the samplers that solve the probability-flow ODE, measured where its solution is known.

python -m benchmarks.order

The data are N(MU, S^2). Then the denoiser is known in closed form, and the ODE keeps a point where it is in units of
the standard deviation: x_t = mean_t + deviation_t * constant. The grid is uniform in log-SNR, from -6 to 4, which ends
above sigma = 0: the jump to the clean image is no part of it.
"""

import math

import numpy as np
import torch

from ddpm.diffusion import Denoiser, Prediction
from ddpm.samplers import SAMPLERS
from ddpm.schedule import NoiseSchedule

MU, S = 0.3, 0.5
SOLVERS = ("ddim", "heun", "dpmpp_2m")
COUNTS = (16, 32, 64, 128, 256)
FITTED = 4  # of the last of them: the first is not yet where the order shows


def gaussian_denoiser(schedule: NoiseSchedule, mu: float = MU, s: float = S) -> Denoiser:
    """E[x0 | x_t] of x0 ~ N(mu, s^2), independent pixels."""

    def denoise(x_t: torch.Tensor, t: int) -> Prediction:
        ab = schedule.alpha_bar(t)
        gain = math.sqrt(ab) * s**2 / (ab * s**2 + 1 - ab)
        x0 = gain * x_t + mu * (1 - gain * math.sqrt(ab))
        return Prediction(x0, (x_t - math.sqrt(ab) * x0) / math.sqrt(1 - ab))

    return denoise


def errors(sampler: str, counts: tuple[int, ...] = COUNTS) -> list[float]:
    """The distance from the solution, after each number of steps, of a point that starts at 1."""
    finest = max(counts)
    schedule = NoiseSchedule(torch.sigmoid(torch.linspace(4, -6, finest + 1, dtype=torch.float64)))

    def moments(t: int) -> tuple[float, float]:
        ab = schedule.alpha_bar(t)
        return math.sqrt(ab) * MU, math.sqrt(ab * S**2 + 1 - ab)

    (first_mean, first_deviation), (mean, deviation) = moments(finest), moments(0)
    exact = mean + deviation * (1 - first_mean) / first_deviation
    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    found = []
    for count in counts:
        timesteps = range(finest, -1, -finest // count)
        *_, last, _ = SAMPLERS[sampler].function(gaussian_denoiser(schedule), schedule, timesteps, lambda: start)
        found.append(abs(last.x_t.item() - exact))
    return found


def order(counts: tuple[int, ...], found: list[float]) -> float:
    """The slope of the error over the number of steps, both as logarithms, with its sign turned."""
    return -np.polyfit(np.log(counts[-FITTED:]), np.log(found[-FITTED:]), 1)[0]


def main() -> None:
    print("| sampler | " + " | ".join(f"{count} steps" for count in COUNTS) + " | order |")
    print("|---" * (len(COUNTS) + 2) + "|")
    for sampler in SOLVERS:
        found = errors(sampler)
        cells = " | ".join(f"{error:.1e}" for error in found)
        print(f"| {SAMPLERS[sampler].label} | {cells} | {order(COUNTS, found):.2f} |")


if __name__ == "__main__":
    main()
