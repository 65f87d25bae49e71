"""The library in code of one's own: arrays, a schedule, a sampler, a network, gradients and metrics."""

import math
from typing import Annotated

import torch

import ddpm
import ddpm.metrics

# -- a schedule and a sampler of one's own; the config, the command line and the app know them from here on -----------


@ddpm.register_schedule(r"\bar\alpha(u) = e^{-k u}", "An exponential decay of the signal")
def exponential(num_timesteps: int, *, decay: Annotated[float, ddpm.option("Rate k.", "1", gt=0, le=50)] = 8.0):
    return torch.full((num_timesteps,), -math.expm1(-decay / num_timesteps), dtype=torch.float64)


@ddpm.register_sampler("Cold", "Noises each prediction again, always with the first noise.", "Bansal et al. 2022")
def cold(denoise, schedule, timesteps, noise):
    x = start = noise()
    for index, (t, t_next) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True)):
        x0, eps = denoise(x, t)
        yield ddpm.Step(index, t, x, x0, eps)
        ab = schedule.alpha_bar(t_next)  # 1 at t = -1, the clean image
        x = math.sqrt(ab) * x0 + math.sqrt(1 - ab) * start
    yield ddpm.Step(len(timesteps), -1, x, x, torch.zeros_like(x))


# -- training on arrays ------------------------------------------------------------------------------------------------

bright = torch.rand(400, 1, 1) * torch.ones(400, 8, 8)  # 400 grey squares, each of one brightness in 0..1
images = ddpm.ImageSet.from_arrays(bright, (bright[:, 0, 0] > 0.5).long(), class_names=["dark", "light"],
                                   value_range=(0, 1))  # fmt: skip
config = ddpm.Config(
    name="squares",
    data={"dataset": "arrays", "image_size": 8},
    schedule={"name": "exponential", "num_timesteps": 100},
    diffusion={"prediction_type": "v"},
    model={"base_channels": 16, "channel_mult": [1, 2], "attention_resolutions": [], "num_classes": 2},
    training={"epochs": 8, "batch_size": 32, "learning_rate": 2e-3, "warmup_steps": 10, "ema_decay": 0.95,
              "device": "cpu", "precision": "fp32"},
    sampling={"sampler": "cold", "num_steps": 20},
)  # fmt: skip
for event in (training := ddpm.train(config, images)):
    print(event)
training.model.save("squares")

# -- sampling: a step at a time, a seed and a guidance for each image, from an image -----------------------------------

model = ddpm.load_model("squares")
for step in ddpm.sample(model, seeds=[1, 2, 3, 4], labels=[0, 0, 1, 1], guidance=[1.0, 2.0, 1.0, 2.0]):
    print(step.t, step.x0.mean(dim=(1, 2, 3)).tolist())
dark, light = step.x0[:2].mean(), step.x0[2:].mean()
*_, last = ddpm.sample(model, 4, labels=[1], init=step.x0.clamp(-1, 1), start=60)  # image to image

# -- gradients: classifier guidance (Dhariwal & Nichol 2021) of a denoiser, here towards white -------------------------


def towards_white(denoise, scale=3.0):
    def guided(x_t, t):
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(denoise(x, t).x0.mean(dim=(1, 2, 3)).sum(), x)
        x0 = (denoise(x_t, t).x0 + scale * gradient * 64).clamp(-1, 1)
        return ddpm.to_prediction(model.schedule, x0, x_t, torch.full((len(x_t),), t), "x0")

    return guided


*_, whiter = ddpm.sample(model, 4, seed=5, labels=None, wrap=towards_white)
*_, plain = ddpm.sample(model, 4, seed=5, labels=None)

# -- metrics, and a network of one's own -------------------------------------------------------------------------------

distance = ddpm.metrics.frechet_distance(ddpm.generate(model, 100).mean(dim=(2, 3)), images.scaled().mean(dim=(2, 3)))
network = torch.nn.Conv2d(1, 1, 3, padding=1)
x0, t, eps = images[:16].scaled(), torch.randint(0, 100, (16,)), torch.randn(16, 1, 8, 8)
ddpm.diffusion_loss(model.schedule, lambda x, t, y: network(x), x0, t, eps).mean().backward()
print(f"dark {dark:.2f}, light {light:.2f}, whiter {whiter.x0.mean() - plain.x0.mean():.2f}, distance {distance:.3f}")
