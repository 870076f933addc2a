"""Which channels a network sees: what users write, and what becomes of it."""

import re

import pytest

from wsis_jax.core.channels import channel_count, channels_of, channels_seen, in_words
from wsis_jax.core.config import Config


@pytest.mark.parametrize(
    ("given", "channels", "count"),
    [
        (None, "grey", 1),
        ("grey", "grey", 1),
        ("colours", "colours", 3),
        (0, (0,), 1),
        ("5", (5,), 1),
        ("0,2", (0, 2), 2),
        (" 3, 0 ", (3, 0), 2),
        ([2, 1, 0], (2, 1, 0), 3),
        ((0, 1, 2, 3), (0, 1, 2, 3), 4),
    ],
)
def test_choices_of_channels(given, channels, count):
    assert channels_of(given) == channels
    assert channel_count(channels) == count
    assert channels_of(in_words(channels)) == channels


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("red", "'red' is not a choice of channels; give their numbers, as in 0,2, or colours, or grey"),
        ("0;1", "'0;1' is not a choice of channels; give"),
        ("", "'' is not a choice of channels; give"),
        ("1,", "'1,' is not a choice of channels; give"),
        (-1, "there is no channel -1; count the channels from 0"),
        ("0,-2", "there is no channel -2; count the channels from 0"),
        ("1,1", "channels 1,1 cannot be chosen together; give 1 to 4 different ones, as in 0,2"),
        ("0,1,2,3,4", "channels 0,1,2,3,4 cannot be chosen together; give 1 to 4 different ones"),
        ((), "channels  cannot be chosen together; give 1 to 4 different ones"),
    ],
)
def test_what_is_no_choice(given, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        channels_of(given)


@pytest.mark.parametrize(("text", "channels"), [("[0, 2]", (0, 2)), ("[1]", (1,)), ("colours", "colours")])
def test_settings_keep_the_choice(text, channels):
    config = Config().override([f"image.channels={text}"])
    assert config.image.channels == channels
    assert config.image.inputs == channel_count(channels)
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict({}).image.inputs == 1  # of models that were trained before there was a choice


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("red", "image.channels must be grey, colours or a list, as in [0, 2], not 'red'"),
        (0, "image.channels must be grey, colours or a list, as in [0, 2], not 0"),
        ([0.5], "image.channels must be a list of int"),
        ([0, 0], "image.channels: channels 0,0 cannot be chosen together; give"),
        ([-1], "image.channels: there is no channel -1; count"),
    ],
)
def test_settings_refuse_what_is_no_choice(value, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Config.from_dict({"image": {"channels": value}})


def test_images_tell_what_there_is_to_see():
    assert channels_seen([(4, 5)]) == "grey"
    assert channels_seen([(4, 5, 3), (4, 5)]) == "colours"
    assert channels_seen([(4, 5, 2)]) == (0, 1)
    assert channels_seen([(4, 5, 4)]) == (0, 1, 2, 3)
