"""The UNet as a model of diffusers; an exported folder holds this file with the UNet's source before it."""

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from ddpm.unet import UNet


class LabUNet(UNet, ModelMixin, ConfigMixin):
    """x (B, C, H, W), t (B,) long, y (B,) long or None, n (B,) long or None to the prediction (B, C, H, W)."""

    __init__ = register_to_config(UNet.__init__)
