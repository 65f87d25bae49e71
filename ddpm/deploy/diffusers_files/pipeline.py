"""A pipeline of diffusers for a network of DDPM Lab, with classes and guidance; it needs diffusers and nothing else."""

import inspect

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class LabPipeline(DiffusionPipeline):
    """Images from noise, with any scheduler of diffusers that noises by betas.

    Args:
        predicts: what the network predicts: eps, x0, v or u, the velocity eps - x0 of rectified flow.
        num_inference_steps, guidance_scale: the defaults of a call.
        guidance_interval: first and last timestep at which guidance acts; None for all.
    """

    model_cpu_offload_seq = "unet"

    def __init__(
        self, unet, scheduler, predicts="eps", num_inference_steps=50, guidance_scale=1.0, guidance_interval=None
    ):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(
            predicts=predicts, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
        )  # fmt: skip

    @torch.no_grad()
    def __call__(
        self, batch_size=1, class_labels=None, num_inference_steps=None, guidance_scale=None, eta=0.0, generator=None,
        latents=None, output_type="pil", return_dict=True,
    ):  # fmt: skip
        """Draw ``batch_size`` images.

        Args:
            class_labels: a class for each image, repeated to fill, -1 for none; None for no class at all.
            guidance_scale: 1 is off, above 1 exaggerates the class.
            latents: the noise to start from, (B, C, H, W), which then decides the number of images.
            output_type: pil, np (B, H, W, C) in 0..1, or pt (B, C, H, W) in -1..1.
        """
        network, device = self.unet.config, self._execution_device
        steps = num_inference_steps or self.config.num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        counts = list(network.step_counts)
        if counts and (steps not in counts or scale != 1):
            raise ValueError(f"this distilled model draws in {counts} steps without guidance, got {steps} and {scale}")
        if latents is None:
            shape = (batch_size, network.in_channels, network.image_size, network.image_size)
            latents = randn_tensor(shape, generator=generator, device=device, dtype=self.unet.dtype)
        x = latents.to(device, self.unet.dtype)
        y = self._labels(class_labels, len(x))
        n = torch.full((len(x),), counts.index(steps), device=device) if counts else None
        self.scheduler.set_timesteps(steps, device=device)
        takes = inspect.signature(self.scheduler.step).parameters
        options = {"eta": eta, "generator": generator, "use_clipped_model_output": True}
        options = {name: value for name, value in options.items() if name in takes}
        x = x * self.scheduler.init_noise_sigma
        for t in self.progress_bar(self.scheduler.timesteps):
            output = self._predict(self.scheduler.scale_model_input(x, t), t, y, n, scale)
            x = self.scheduler.step(output, t, x, **options).prev_sample
        if output_type == "pt":
            images = x
        else:
            images = (x / 2 + 0.5).clamp(0, 1).cpu().permute(0, 2, 3, 1).float().numpy()
            images = self.numpy_to_pil(images) if output_type == "pil" else images
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _labels(self, labels, count):
        """The labels as the network takes them: (B,) long, with the number of classes for none; None for no class."""
        classes = self.unet.config.num_classes
        labels = [] if labels is None else [int(label) for label in labels]
        if any(not -1 <= label < classes for label in labels):
            raise ValueError(f"class_labels must be -1 for no class, or 0 to {classes - 1}, got {labels[:5]}")
        if all(label == -1 for label in labels):
            return None
        chosen = [labels[k % len(labels)] for k in range(count)]
        return torch.tensor([classes if label == -1 else label for label in chosen], device=self._execution_device)

    def _predict(self, x, t, y, n, scale):
        """The network's output, guided, and as x0 if it is u, which schedulers do not know."""
        at, interval = t.expand(len(x)), self.config.guidance_interval
        if y is None or scale == 1 or (interval and not interval[0] <= int(t) <= interval[1]):
            output = self.unet(x, at, y, n)
        else:
            both = torch.cat([y, torch.full_like(y, self.unet.config.num_classes)])
            output, plain = self.unet(torch.cat([x, x]), torch.cat([at, at]), both).chunk(2)
            output = plain + scale * (output - plain)
        if self.config.predicts != "u":
            return output
        alpha_bar = self.scheduler.alphas_cumprod.to(x)[t]
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return (x - s * output) / (a + s)
