"""Warnings that stay with their image, whatever other threads do with warnings."""

import pickle
import threading
import warnings

import pytest
from distributed.core import error_message

from wsis_jax.core.errors import (
    Faults,
    MissingFile,
    OutOfMemory,
    UserError,
    WriteError,
    collecting_faults,
    collecting_warnings,
    sentence,
    sentences,
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


# Several at once


def collect(*errors: Exception | None) -> None:
    """Raises errors one after the other, of which each may fail without the others; None does not fail."""
    with collecting_faults() as fault:
        for error in errors:
            with fault():
                if error is not None:
                    raise error


def test_one_fault_is_raised_as_it_is():
    collect(None)
    with pytest.raises(MissingFile, match=r"^a\.csv: is not there$"):
        collect(None, MissingFile("a.csv: is not there"), None, UserError("a.csv: is not there"))


def test_all_faults_are_raised_at_once():
    errors = [UserError(f"{number}: is wrong") for number in range(12)]
    with pytest.raises(Faults) as info:
        collect(*errors[:2], Faults([str(error) for error in errors[2:]]))
    assert info.value.sentences == tuple(map(str, errors))
    told = [*map(str, errors[:10]), "and 2 more"]
    assert sentences(info.value) == str(info.value).split("\n") == told
    assert sentences(UserError("a")) == ["a"]
    assert pickle.loads(pickle.dumps(info.value)).sentences == info.value.sentences


@pytest.mark.parametrize("kind", [WriteError, OutOfMemory, KeyError])
def test_what_all_would_fail_by_ends_the_collecting(kind):
    with pytest.raises(kind):
        collect(UserError("a: is wrong"), kind("the disk is full"), AssertionError("it went on"))
