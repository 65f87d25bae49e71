"""Denoising diffusion models on small images: train them, sample them, look inside.

import ddpm
model = ddpm.load_model("mnist")
for step in ddpm.sample(model, 16, labels=[3], seed=0):
    ...                     # step.t, step.x_t, step.x0
images = step.x0            # (16, 1, 32, 32), in [-1, 1]
"""

import os

# Set before torch is loaded. OpenMP's threads wait for each other at every layer, and by default they spin: with four
# other busy processes, a training step on two cores took six times as long. With sleeping threads it takes three and a
# half times as long; a fair share would be three.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# torch warns of every connection that a lost process closes, each time with a stack of C++, around the one line that
# says what happened.
if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has started this process
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

from .config import Config, SamplingConfig, config_to_yaml, load_config
from .data import ImageSet, load_dataset
from .datasets import DATASETS
from .datasets import dataset as register_dataset
from .diffusion import Prediction, diffusion_loss, make_denoiser, q_posterior, q_sample, to_prediction
from .errors import ConfigError, DataError, DDPMError, HubError, MetricError, ModelError
from .models import Model, load_model
from .options import option
from .samplers import SAMPLERS, Step
from .samplers import sampler as register_sampler
from .sampling import Guide, generate, sample
from .schedule import SCHEDULES, NoiseSchedule, make_schedule
from .schedule import schedule as register_schedule
from .spacing import spaced_timesteps
from .training.in_memory import train
from .unet import UNet

__version__ = "0.1.0"

__all__ = [
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
