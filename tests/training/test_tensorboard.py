"""TensorBoard: the events that a training writes are its metrics and sample pictures."""

import builtins
import struct

import pytest

from wsis_jax.training import run_folder
from wsis_jax.training.run_folder import sample_file
from wsis_jax.training.tensorboard import writing_events


def events_of(folder) -> list:
    """Reads the records of event files: their length, a checksum, what they hold, another checksum."""
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for file in sorted(folder.glob("events.*")):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            events.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += 16 + length
    return events


def test_events_are_the_metrics_and_samples(tiny_run, tmp_path):
    metrics = run_folder.read_metrics(tiny_run.folder)
    for line in metrics:
        file = sample_file(tmp_path, line["step"])
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(sample_file(tiny_run.folder, line["step"]).read_bytes())
    with writing_events(tmp_path) as write:
        for line in metrics:
            write(line)
    values = [(e.step, v) for e in events_of(tmp_path / "tensorboard") for v in e.summary.value]
    losses = [(step, v.simple_value) for step, v in values if v.tag == "loss/validation"]
    assert losses == [(line["step"], pytest.approx(line["validation_loss"])) for line in metrics]
    scores = [v.simple_value for _, v in values if v.tag == "detection/f_measure"]
    assert scores == pytest.approx([line["f_measure"] for line in metrics])
    assert [step for step, v in values if v.HasField("image")] == [line["step"] for line in metrics]


def test_without_the_extra_an_error_says_what_to_install(tmp_path, monkeypatch):
    importing = builtins.__import__

    def without(name, *arguments, **more):
        if name == "tensorboardX":
            raise ImportError(name)
        return importing(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'wsis-jax\[tensorboard\]'"), writing_events(tmp_path):
        pass
    assert not (tmp_path / "tensorboard").exists()
