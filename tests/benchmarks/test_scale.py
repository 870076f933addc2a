"""The formula of saturation, against stages that are simulated field by field."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scale import Host, fields_per_second, simulate, simulated_workers, workers_needed

SECONDS = st.floats(0.05, 1)


@pytest.mark.parametrize("share", [0.5, 0.9, 1.1, 2])
@pytest.mark.parametrize("devices", [1, 8, 64])
def test_fields_a_second_on_both_sides_of_saturation(devices, share):
    period, after = 0.05, 0.6
    workers = round(share * workers_needed(devices, period, after))
    expected = fields_per_second(devices, workers, period, after)
    assert expected == pytest.approx(devices / period if share > 1 else workers / after)
    assert simulate(devices, workers, period, after) == pytest.approx(expected, rel=0.02)


@settings(max_examples=40)
@given(st.integers(1, 12), SECONDS, SECONDS)
def test_devices_begin_to_wait_where_the_formula_says(devices, period, after):
    needed = workers_needed(devices, period, after)
    assert math.floor(0.98 * needed) <= simulated_workers(devices, period, after) <= math.ceil(needed)


def test_fields_that_differ_need_a_few_more_workers():
    needed = workers_needed(64, 0.155, 0.4)
    assert needed < simulated_workers(64, 0.155, 0.4, spread=0.33) < 1.1 * needed


def test_what_comes_before_and_after_the_device():
    assert Host(1, 2, 4, 8).before == 3
    assert Host(1, 2, 4, 8).after == 12
