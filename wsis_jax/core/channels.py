"""Which channels of an image a network sees: its grey values, its colours, or channels by their numbers."""

from collections.abc import Sequence
from typing import Literal

from wsis_jax.core.errors import UserError

_MOST = 4  # channels that a network may see

Channels = tuple[int, ...] | Literal["grey", "colours"]
"""Numbers of channels, counted from 0; "colours" for red, green and blue; "grey" for one channel of grey values.

The grey values of an image in colours are their luminance.
"""

ChannelChoice = int | Sequence[int] | str | None
"""What `channels_of` makes `Channels` of."""


def channels_of(given: ChannelChoice) -> Channels:
    """Returns the channels that a user chose.

    Args:
        given: a number, or several; "grey" or None; "colours"; or numbers as a text, as in "0,2".

    Raises:
        UserError: if it is none of these, a number is negative or there twice, or they are more than four.
    """
    if given is None or given == "grey":
        return "grey"
    if given == "colours":
        return "colours"
    numbers = [given] if isinstance(given, int) else given.split(",") if isinstance(given, str) else given
    try:
        chosen = tuple(int(number) for number in numbers)
    except ValueError as error:
        raise UserError(
            f"'{str(given)[:60]}' is not a choice of channels; give their numbers, as in 0,2, or colours, or grey"
        ) from error
    if negative := [number for number in chosen if number < 0]:
        raise UserError(f"there is no channel {negative[0]}; count the channels from 0")
    if not 1 <= len(chosen) <= _MOST or len(set(chosen)) < len(chosen):
        raise UserError(
            f"channels {in_words(chosen)[:60]} cannot be chosen together; "
            f"give 1 to {_MOST} different ones, as in 0,2"
        )
    return chosen


def channels_seen(shapes: Sequence[Sequence[int]]) -> Channels:
    """Returns the channels to train on, for images of shapes (height, width) or (height, width, channels).

    Three channels are taken as colours, any other number as numbered channels; the first image decides.
    """
    count = shapes[0][2] if len(shapes[0]) == 3 else 1
    return "grey" if count == 1 else "colours" if count == 3 else tuple(range(count))


def channel_count(channels: Channels) -> int:
    """Returns how many channels the network sees."""
    return {"grey": 1, "colours": 3}[channels] if isinstance(channels, str) else len(channels)


def in_words(channels: Channels) -> str:
    """Returns the channels as --channel takes them."""
    return channels if isinstance(channels, str) else ",".join(map(str, channels))
