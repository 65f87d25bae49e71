"""Training: a loop that yields events. Its callers save, plot and print.

The randomness of a step is a function of (seed, step) alone, and the order of an epoch of (seed, epoch): a run resumes
exactly without any saved random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..config.schema import Config
from ..data import epoch_order
from ..device import Compiled, resolve_precision, wait_for
from ..errors import ConfigError, DDPMError
from ..randomness import derive_seed
from ..unet import UNet
from .distributed import World
from .ema import EMA, LENGTHS, PowerEMA
from .events import Event, Progress, SamplesDue, SnapshotDue, Stopped, Validated
from .objective import Images, Network, Noised, Objective, Shown, objective_of
from .trajectories import Trajectories

BANDS = 10
EXPLODED = 10.0  # times the loss of a network that predicts zero, which is where a fresh one starts


@dataclass
class TrainState:
    """All that changes during training; ``ddpm.training.checkpoint`` saves and restores it."""

    config: Config
    world: World = field(default_factory=World)
    model: UNet = field(init=False)
    ema: EMA = field(init=False)
    averages: list[PowerEMA] = field(init=False)
    """For the snapshots; [] if none are wanted."""
    optimizer: torch.optim.Optimizer = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    device: torch.device = field(init=False)
    precision: torch.dtype = field(init=False)
    objective: Objective = field(init=False)
    step: int = 0
    best_val_loss: float = math.inf
    elapsed: float = 0.0

    def __post_init__(self):
        training = self.config.training
        self.device = self.world.device(training.device)
        self.precision = resolve_precision(training.precision, self.device)
        self.objective = objective_of(self.config, self.device)
        torch.manual_seed(derive_seed("weights", training.seed))
        self.model = UNet(**self.config.network_arguments()).to(self.device)
        self.ema = EMA(self.model, training.ema_decay)
        self.averages = [PowerEMA(self.model, length) for length in LENGTHS if training.ema_snapshots]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)

    def networks(self) -> list[UNet]:
        """The network and all averages of it."""
        return [self.model, self.ema.model, *(average.model for average in self.averages)]


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the peak rate at ``step``, 0-based: linear warm-up, then a cosine to zero (Loshchilov & Hutter 2017)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Whole batches per epoch; images left over are not carried over, since every epoch has its own order."""
    return max(1, num_images // batch_size)


def images_per_step(num_images: int, batch_size: int) -> int:
    """How many images a step really has: all of them, if there are fewer than ``batch_size``."""
    return min(num_images, batch_size)


def check_labels(images: Images, config: Config) -> None:
    """Refuse a dataset whose labels the model cannot take, before the first step."""
    classes = config.model.num_classes
    if isinstance(images, Trajectories):  # labelled by the teacher
        return
    lowest, highest = int(images.labels.min()), int(images.labels.max())
    if classes and not (lowest >= 0 and highest < classes):
        has = "no labels" if lowest < 0 else f"labels up to {highest}"
        raise ConfigError(f"model.num_classes is {classes}, but the dataset has {has}: set it to {highest + 1}")


def train(
    state: TrainState, train_set: Images, val_set: Images, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Train from ``state.step`` to the end of ``config.training.epochs``; ``state`` is up to date at every event.

    ``should_stop`` is called after every step; once it returns True, a last ``Progress`` and ``Stopped`` end the
    training. All processes of ``state.world`` get the same events, computed over the whole batch.

    Raises:
        ConfigError: the model's classes do not fit the dataset's labels, or the batch the number of processes.
        DDPMError: the loss is no longer finite, or more than ``EXPLODED`` times that of a network that predicts
            zero on the same batches; names the step and the learning rate.
    """
    config, training = state.config, state.config.training
    world = state.world
    check_labels(train_set, config)
    world.check(training, len(train_set))
    per_epoch = steps_per_epoch(len(train_set), training.batch_size)
    total, per_step = training.epochs * per_epoch, images_per_step(len(train_set), training.batch_size)
    images = train_set.to(state.device)
    window, mark, order = _Window(state.device), time.perf_counter(), None

    state.model.train()
    network = world.parallel(Compiled(state.model, graphs=world.size == 1) if training.compile else state.model)
    while state.step < total:
        epoch, position = divmod(state.step, per_epoch)
        if order is None or position == 0:
            order = epoch_order(len(train_set), training.seed, epoch).to(state.device)
        batch = order[position * training.batch_size : (position + 1) * training.batch_size]
        rate = training.learning_rate * learning_rate_factor(state.step, total, training.warmup_steps)
        _train_step(state, network, images[batch], rate, window)

        stopping = world.any(should_stop())
        last = stopping or state.step == total
        validating = state.step % training.val_every == 0 or state.step == total
        sampling = state.step % training.sample_every == 0 or state.step == total
        # A record before every checkpoint, so that a resumed run averages over the same steps as an uninterrupted one.
        recording = last or validating or state.step % training.log_every == 0
        snapshot = _is_snapshot(state.step, total, training.ema_snapshots)
        if recording or sampling or snapshot:
            wait_for(state.device)
            now = time.perf_counter()
        if recording:
            state.elapsed += now - mark
            speed = window.steps / (now - mark)
            mark = now
            mean_loss, zero_loss, norm, loss_by_t = window.means(world)
            _check_loss("loss", mean_loss, zero_loss, state.step, rate)
            yield Progress(
                step=state.step,
                total_steps=total,
                epoch=state.step / per_epoch,
                train_loss=mean_loss,
                loss_by_t=loss_by_t,
                learning_rate=rate,
                grad_norm=norm,
                images_per_second=speed * per_step,
                elapsed=state.elapsed,
                eta=(total - state.step) / speed,
            )
            window = _Window(state.device)
        if validating:
            val_loss, raw_val_loss = validate(state, val_set), _check_weights(state, val_set, rate)
            _check_loss("validation loss", val_loss, math.inf, state.step, rate)
            is_best = val_loss < state.best_val_loss
            state.best_val_loss = min(val_loss, state.best_val_loss)
            yield Validated(state.step, state.step / per_epoch, val_loss, raw_val_loss, is_best)
        if sampling:
            yield SamplesDue(state.step)
        if snapshot:
            yield SnapshotDue(state.step)
        if stopping and state.step < total:
            if not validating:
                _check_weights(state, val_set[:256], rate)
            yield Stopped(state.step)
            return
        if recording or sampling or snapshot:
            mark += time.perf_counter() - now  # the time of validation and of callers is not the speed of training


def _is_snapshot(step: int, total: int, count: int) -> bool:
    """Whether ``step`` is one of ``count`` spread evenly over 1 to ``total``."""
    return step * count // total > (step - 1) * count // total


class _Window:
    """Sums over the steps since the last record, left on the device."""

    def __init__(self, device: torch.device):
        self.steps = 0
        self.sums = torch.zeros(3, device=device)  # loss, loss of predicting zero, gradient norm
        self.band_sums, self.band_counts = torch.zeros(BANDS, device=device), torch.zeros(BANDS, device=device)

    def add(self, per_image: Tensor, zero_per_image: Tensor, norm: Tensor, t: Tensor, num_timesteps: int) -> None:
        self.steps += 1
        self.sums += torch.stack([per_image.mean(), zero_per_image.mean(), norm])
        band = t * BANDS // num_timesteps
        self.band_sums.index_add_(0, band, per_image)
        self.band_counts.index_add_(0, band, torch.ones_like(per_image))

    def means(self, world: World) -> tuple[float, float, float, list[float | None]]:
        """Loss, loss of predicting zero, gradient norm, and loss by band of t, over the shares of all processes."""
        sums = world.sum(torch.cat([self.sums, self.band_sums, self.band_counts]).cpu()).tolist()
        loss, zero_loss, norm = (value / (self.steps * world.size) for value in sums[:3])
        bands = zip(sums[3 : 3 + BANDS], sums[3 + BANDS :], strict=True)
        return loss, zero_loss, norm, [total / count if count else None for total, count in bands]


def _check_loss(name: str, loss: float, zero_loss: float, step: int, rate: float) -> None:
    advice = "lower training.learning_rate or training.grad_clip"
    if not math.isfinite(loss):
        raise DDPMError(f"the {name} is {loss} at step {step}, learning rate {rate:.2g}: {advice}")
    if loss > EXPLODED * zero_loss:
        raise DDPMError(
            f"the {name} is {loss:.3g} at step {step}, learning rate {rate:.2g}, where predicting zero would give "
            f"{zero_loss:.3g}: {advice}"
        )


def _check_weights(state: TrainState, val_set: Images, rate: float) -> float:
    """Check the weights that a checkpoint is about to keep; returns their validation loss.

    The losses of a window date from before its last step, so they say nothing about the weights after that step.
    """
    loss = validate(state, val_set, network=state.model)
    _check_loss("validation loss", loss, _zero_validation_loss(state, val_set), state.step, rate)
    return loss


def _train_step(state: TrainState, network: Network, images: Images, rate: float, window: _Window) -> None:
    """One optimizer step on this process's share of a batch; its losses and gradient norm go to ``window``."""
    training, objective, schedule = state.config.training, state.objective, state.config.schedule
    torch.manual_seed(derive_seed("step", training.seed, state.step))
    asked = objective.draw(images)
    if state.world.size > 1:
        asked = _shared(state, asked)
        # From here on only dropout masks are drawn, which must differ between processes.
        torch.manual_seed(derive_seed("dropout", training.seed, state.step, state.world.rank))

    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)  # before the forward pass: a CUDA graph writes where gradients were
    with torch.autocast(state.device.type, state.precision, enabled=state.precision != torch.float32):
        per_image = objective.loss(network, asked)
    state.scaler.scale(per_image.mean()).backward()
    state.scaler.unscale_(state.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), training.grad_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.step += 1
    for average in (state.ema, *state.averages):
        average.update(state.model, state.step)
    window.add(per_image.detach(), objective.zero_loss(asked), norm, asked.t, schedule.num_timesteps)


def _shared(state: TrainState, asked: Noised | Shown) -> Noised | Shown:
    """This process's share of a batch."""
    share = state.world.share(len(asked.t))
    return type(asked)(*(None if value is None else value[share] for value in asked))


@torch.no_grad()
def validate(state: TrainState, val_set: Images, batch_size: int = 256, *, network: UNet | None = None) -> float:
    """The unweighted loss of ``network``, by default the averaged one, on the batches of ``validation_batches``."""
    network = network or state.ema.model
    was_training, total = network.training, 0.0
    network.eval()
    for asked in validation_batches(state, val_set, batch_size):
        with torch.autocast(state.device.type, state.precision, enabled=state.precision != torch.float32):
            total += state.objective.loss(network, asked, weighted=False).sum().item()
    network.train(was_training)
    return state.world.sum(torch.tensor(total, dtype=torch.float64)).item() / len(val_set)


def _zero_validation_loss(state: TrainState, val_set: Images) -> float:
    """What ``validate`` would return for a network that predicts zero."""
    total = sum(
        state.objective.zero_loss(asked, weighted=False).sum().item() for asked in validation_batches(state, val_set)
    )
    return state.world.sum(torch.tensor(total, dtype=torch.float64)).item() / len(val_set)


def validation_batches(state: TrainState, val_set: Images, batch_size: int = 256) -> Iterator[Noised | Shown]:
    """What is asked in a validation, the same each time.

    This process gets its share of every batch, or none of a batch with fewer images than processes.
    """
    for start in range(0, len(val_set), batch_size):
        asked = _shared(state, state.objective.held_out(val_set[start : start + batch_size], start))
        if len(asked.t):
            yield type(asked)(*(None if value is None else value.to(state.device) for value in asked))
