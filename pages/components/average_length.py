"""How long an average a run's weights should be, chosen after its training by the validation loss."""

import streamlit as st

from ddpm.deploy.public import is_public
from ddpm.errors import DDPMError
from ddpm.files import RunFolder
from ddpm.media.drawers import to_plotly
from ddpm.media.figures import length_chart
from ddpm.models import Model
from ddpm.training.averages import GRID, compare_lengths
from ddpm.training.snapshots import snapshots_of

from .evaluation import PLOT
from .models import computing
from .public import show_error


@st.cache_resource(show_spinner=False, max_entries=16)
def _kept(*key: object) -> dict[float, float]:
    """Stores the losses of one run, for all visitors. Inside a cached function one could not wait for a turn."""
    return {}


def length_of_average(model: Model) -> None:
    """Compare the lengths of a run that kept snapshots, and name the command that makes one of them a model."""
    run = model.run
    snapshots = snapshots_of(run) if run and not is_public() else []
    if not snapshots:
        return
    st.header("Length of the average", anchor=False)
    st.caption(
        "The weights that are sampled are an average over the end of the training. From the snapshots that this run "
        "kept, an average over a shorter or longer end can still be made."
    )
    losses = _kept(run.path, snapshots[-1].name, snapshots[-1].stat().st_mtime_ns)
    if len(losses) < len(GRID):
        effort = "The validation loss of eight lengths: seconds for a small model, minutes for a large one."
        if st.button("Compare lengths", key="eval_lengths", icon=":material/query_stats:", help=effort):
            _measure(run, losses)
            if len(losses) == len(GRID):
                st.rerun()
        return
    best = min(losses, key=losses.get)
    meaning = "The standard deviation of the average over the steps, as a share of the training."
    length = st.select_slider("Length", list(losses), best, "{:g}".format, key="eval_length", help=meaning, width=400)
    st.plotly_chart(to_plotly(length_chart(losses, length)), key="eval_plot_lengths", **PLOT)
    st.caption(
        f"Validation loss {losses[length]:.5f}; the lowest is {losses[best]:.5f}, at {best:g}. This makes it a model:"
    )
    st.code(f"python -m ddpm ema --run {run.path.name} --length {length:g}", language="bash")


def _measure(run: RunFolder, losses: dict[float, float]) -> None:
    place = st.empty()
    try:
        with computing("lengths", len(GRID)) as turn:
            for done, (length, loss) in enumerate(compare_lengths(run), 1):
                losses[length] = loss
                place.progress(done / len(GRID), f"{done} of {len(GRID)} lengths")
                turn.give_way()
    except DDPMError as error:
        show_error(str(error))
    place.empty()
