"""The optimizer, and the learning rate of each iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim import SGD, AdamW

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sats.config import OptimConfig
    from sats.models.segmenter import Segmenter


def make_optimizer(model: Segmenter, config: OptimConfig, step_index: int) -> Optimizer:
    """An optimizer over the trainable parameters, a group each for encoder, decoder and classifier."""
    base = config.lr if step_index == 0 else config.lr_later
    factors = config.factors if step_index == 0 else config.factors_later
    rates = {
        "encoder": base * factors.encoder,
        "decoder": base * factors.decoder,
        "classifier": base * factors.classifier,
    }
    groups: list[dict[str, Any]] = [
        {"params": parameters, "lr": rates[part], "name": part}
        for part, parameters in model.parameter_parts().items()
        if parameters
    ]
    if config.optimizer == "adamw":
        return AdamW(groups, weight_decay=config.weight_decay)
    return SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0, weight_decay=config.weight_decay)


def rate_factor(iteration: int, iterations: int, config: OptimConfig) -> float:
    """What a step's base rates are multiplied by at ``iteration`` (from 0): poly decay after a linear warm-up."""
    decay = float((1 - iteration / iterations) ** config.power)
    rising = config.warmup * iterations
    return decay if iteration >= rising else decay * (iteration + 1) / (rising + 1)


def set_rates(optimizer: Optimizer, factor: float) -> None:
    """Set every group's learning rate to ``factor`` times its base."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
