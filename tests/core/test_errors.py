"""Warnings that stay with their image, whatever other threads do with warnings."""

import pickle
import threading
import warnings

import pytest
from distributed.core import error_message

from wsis_jax.core.errors import (
    MissingFile,
    OutOfMemory,
    UserError,
    WriteError,
    collecting_warnings,
    sentence,
    warn_about_image,
)


def test_a_remark_that_nobody_takes_is_a_warning():
    with pytest.warns(UserWarning, match="^mind the step$"):
        warn_about_image("mind the step")


def test_what_is_taken_is_no_warning_and_stays_in_its_block():
    with collecting_warnings() as outer:
        warn_about_image("one")
        with collecting_warnings() as inner:
            warn_about_image("two")
        warn_about_image("three")
    assert (outer, inner) == (["one", "three"], ["two"])
    with pytest.warns(UserWarning, match="four"):
        warn_about_image("four")


def test_an_error_ends_the_taking():
    with pytest.raises(KeyError), collecting_warnings():
        raise KeyError
    with pytest.warns(UserWarning, match="after"):
        warn_about_image("after")


def test_each_thread_has_its_own_and_none_is_lost_while_another_ignores_warnings():
    ignoring, said, taken = threading.Event(), threading.Event(), []

    def elsewhere():
        with warnings.catch_warnings(), collecting_warnings() as remarks:
            warnings.simplefilter("ignore")
            ignoring.set()
            assert said.wait(60)
            warn_about_image("there")
        taken.extend(remarks)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert ignoring.wait(60)
    with collecting_warnings() as remarks:
        warn_about_image("here")
    said.set()
    thread.join()
    assert (remarks, taken) == (["here"], ["there"])


@pytest.mark.parametrize("kind", [UserError, MissingFile, WriteError, OutOfMemory])
def test_dask_sends_an_error_to_another_process_as_it_is(kind):
    message = error_message(kind("a.tif: is damaged; give another"))
    error = pickle.loads(message["exception"].data)
    assert type(error) is kind
    assert sentence(error) == "a.tif: is damaged; give another"
