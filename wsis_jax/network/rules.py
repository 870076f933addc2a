"""Backward rules of the ReLU, as data: guided backpropagation, deconvnet, the plain gradient, and yours.

A rule says what a ReLU does to the signal on its way back. The full pass, the record and the windowed pass follow
from it, so a rule that is added to `RULES` works in all methods. Here is one that lets all signals pass, and
gradient × input, which is the gradient times what the network saw:

    import jax
    import wsis_jax as wj
    from wsis_jax.network import RULES, BackwardRule

    RULES["open"] = BackwardRule("open", masks_by_input=False, clips_signal=False)
    maps = jax.jit(wj.contributions, static_argnames="reach")

    def maps_by(rule, model, *cells, reach):
        model = model.using(model.config.override([f"contribution.rule={rule}"]))
        return maps(model, *cells, reach=reach)

    def gradient_times_input(model, image, regions, peaks, reach):
        return maps_by("gradient", model, image, regions, peaks, reach=reach) * image[None]
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from wsis_jax.core import UserError


class BackwardRule(NamedTuple):
    """What a ReLU lets through on the way back.

    Attributes:
        name: what `contribution.rule` calls it.
        masks_by_input: the signal passes only where the input of the ReLU was positive.
        clips_signal: the signal passes only where it is positive itself.
    """

    name: str
    masks_by_input: bool
    clips_signal: bool


RULES = {
    rule.name: rule
    for rule in (
        BackwardRule("guided", masks_by_input=True, clips_signal=True),  # Eq. 2-3
        BackwardRule("gradient", masks_by_input=True, clips_signal=False),
        BackwardRule("deconvnet", masks_by_input=False, clips_signal=True),  # Zeiler and Fergus, ECCV 2014
    )
}
"""All rules, by name."""


def rule_of(name: str) -> BackwardRule:
    """Returns the rule of a name.

    Raises:
        UserError: if there is none; it lists the names that there are.
    """
    if name not in RULES:
        raise UserError(f"contribution.rule must be one of {', '.join(RULES)}, not '{name}'")
    return RULES[name]


def passed(
    signal: Float[Array, "*axes"], active: Bool[Array, "*axes"] | None, rule: BackwardRule
) -> Float[Array, "*axes"]:
    """Returns what a ReLU lets through of a signal behind it; only `active` units do, or, if None, all of them."""
    signal = jnp.maximum(signal, 0) if rule.clips_signal else signal
    return signal if active is None else jnp.where(active, signal, 0)


@cache
def relu_of(rule: BackwardRule) -> Callable[[Array], Array]:
    """Returns the ReLU of a rule: max(x, 0) on the way forward, the rule on the way back."""

    def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.maximum(x, 0)

    def forward(x: Float[Array, "..."]) -> tuple[Float[Array, "..."], Bool[Array, "..."] | None]:
        return jnp.maximum(x, 0), x > 0 if rule.masks_by_input else None  # one boolean per unit, not its value

    def backward(active: Bool[Array, "..."] | None, signal: Float[Array, "..."]) -> tuple[Float[Array, "..."]]:
        return (passed(signal, active, rule),)

    relu.__doc__ = f"ReLU with the backward rule '{rule.name}'; an activation of `UNet`."
    function = jax.custom_vjp(relu)
    function.defvjp(forward, backward)
    return function


guided_relu = relu_of(RULES["guided"])
