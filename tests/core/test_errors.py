"""Warnings that stay with their image, whatever other threads do with warnings."""

import threading
import warnings

import pytest

from wsis_jax.core.errors import UserError, remark, taking_remarks


def test_a_remark_that_nobody_takes_is_a_warning():
    with pytest.warns(UserWarning, match="^mind the step$"):
        remark("mind the step")


def test_what_is_taken_is_no_warning_and_stays_in_its_block():
    with taking_remarks() as outer:
        remark("one")
        with taking_remarks() as inner:
            remark("two")
        remark("three")
    assert (outer, inner) == (["one", "three"], ["two"])
    with pytest.warns(UserWarning, match="four"):
        remark("four")


def test_an_error_ends_the_taking():
    with pytest.raises(UserError), taking_remarks():
        raise KeyError
    with pytest.warns(UserWarning, match="after"):
        remark("after")


def test_each_thread_has_its_own_and_none_is_lost_while_another_ignores_warnings():
    ignoring, said, taken = threading.Event(), threading.Event(), []

    def elsewhere():
        with warnings.catch_warnings(), taking_remarks() as remarks:
            warnings.simplefilter("ignore")
            ignoring.set()
            assert said.wait(60)
            remark("there")
        taken.extend(remarks)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert ignoring.wait(60)
    with taking_remarks() as remarks:
        remark("here")
    said.set()
    thread.join()
    assert (remarks, taken) == (["here"], ["there"])
