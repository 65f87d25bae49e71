"""The Playground in Gradio: images of one model, on the GPU that a ZeroGPU Space lends for a click, else on the CPU."""

try:  # before torch starts CUDA
    import spaces
except ImportError:
    spaces = None

import gradio as gr
import torch

import ddpm
from ddpm.media.images import enlarge, make_grid, to_uint8
from ddpm.storage.places import shipped_models

IMAGES, SECONDS = 16, 30  # the most of a click
NO_CLASS = "any"
MODEL = ddpm.load_model(shipped_models()[0], "cuda" if torch.cuda.is_available() else "cpu")
CONFIG = MODEL.config
STEPS = min(100, CONFIG.schedule.num_timesteps)
COUNTS = CONFIG.model.step_counts
SAMPLERS = ["ddim"] if COUNTS else list(ddpm.SAMPLERS)


def draw(label: str, sampler: str, num_steps: float, guidance_scale: float, count: float, seed: float):
    """The images of a seed as one picture, and up to eight on the way to it. Gradio holds the limits of sliders."""
    labels = None if label == NO_CLASS else [MODEL.class_names.index(label)]
    try:
        values = {"sampler": sampler, "num_steps": int(num_steps), "guidance_scale": guidance_scale}
        settings = ddpm.SamplingConfig(**CONFIG.sampling.model_dump() | values)
        steps = ddpm.sample(MODEL, int(count), labels=labels, settings=settings, seed=int(seed))
        grids = [enlarge(make_grid(to_uint8(step.x_t))) for step in steps]
    except ddpm.DDPMError as error:
        raise gr.Error(str(error)) from None
    return grids[-1], [grids[i] for i in sorted({round(k * (len(grids) - 1) / 7) for k in range(8)})]


if spaces:
    draw = spaces.GPU(duration=SECONDS)(draw)

with gr.Blocks(title="DDPM Lab") as demo:
    gr.Markdown(f"# DDPM Lab\nThe model {CONFIG.name} turns noise into images, step by step.")
    with gr.Row():
        with gr.Column():
            asked = [
                gr.Dropdown([NO_CLASS, *MODEL.class_names], value=[*MODEL.class_names, NO_CLASS][0], label="Class",
                            visible=bool(MODEL.class_names)),
                gr.Dropdown(SAMPLERS, value=CONFIG.sampling.sampler, label="Sampler", visible=len(SAMPLERS) > 1),
                gr.Dropdown(list(COUNTS), value=CONFIG.sampling.num_steps, label="Steps") if COUNTS
                else gr.Slider(1, STEPS, value=min(20, CONFIG.sampling.num_steps), step=1, label="Steps"),
                gr.Slider(0, 8, value=CONFIG.sampling.guidance_scale, step=0.1, label="Guidance",
                          visible=bool(MODEL.class_names) and not COUNTS),
                gr.Slider(1, IMAGES, value=4, step=1, label="Images"),
                gr.Number(0, precision=0, label="Seed"),
            ]  # fmt: skip
            button = gr.Button("Generate", variant="primary")
        with gr.Column():
            picture = gr.Image(label="The images", format="png")
    way = gr.Gallery(label="From noise to image", columns=8, height="auto", format="png")
    gr.on([button.click, demo.load], draw, asked, [picture, way], api_name="draw")

if __name__ == "__main__":
    demo.launch()
