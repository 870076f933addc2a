"""`wsis doctor`: what is well is found so, and every way not to have a GPU is told from the others."""

import json
import logging
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from wsis_jax import segmentation
from wsis_jax.cli import doctor, main
from wsis_jax.cli.doctor import Start, Surroundings, start_jax, surroundings, why_no_accelerator

GPU = "NVIDIA H100, 550.54.15, 81559 MiB"
# A machine whose GPU JAX should use; each case changes something.
READY = Surroundings("Linux", [], None, [GPU], "", True, {"jax-cuda12-plugin": "0.10.2"}, "0.10.2")
STARTED = Start([], None, [])
NO_DRIVER = {"gpus": [], "smi": None, "nodes": False}


@pytest.mark.parametrize(
    ("change", "start", "text", "advice", "broken"),
    [
        ({"platforms": ["cpu"]}, STARTED, "JAX_PLATFORMS=cpu keeps JAX to the CPU", "unset it", False),
        (NO_DRIVER | {"plugins": {}}, STARTED, "no driver of NVIDIA", "--gpus all", False),
        (NO_DRIVER, STARTED, "no driver of NVIDIA", "--gpus all", False),
        ({"gpus": [], "smi": "couldn't talk"}, STARTED, "shows no GPU: couldn't talk", "driver", True),
        ({"gpus": [], "smi": "couldn't talk", "plugins": {}}, STARTED, "couldn't talk", "driver", False),
        ({"plugins": {}}, STARTED, f"{GPU} is there, but", "pip install 'wsis-jax[cuda]'", False),
        ({"gpus": [], "smi": None, "plugins": {}}, STARTED, "a GPU of NVIDIA is there", "wsis-jax[cuda]", False),
        ({"visible": ""}, STARTED, "CUDA_VISIBLE_DEVICES hides", "unset it", False),
        ({"visible": "-1"}, STARTED, "CUDA_VISIBLE_DEVICES hides", "unset it", False),
        (
            {"plugins": {"jax-cuda12-plugin": "0.9.1"}},
            STARTED,
            "0.9.1 does not fit jaxlib 0.10.2",
            "--upgrade",
            True,
        ),
        ({"gpus": ["K80, 470.1, 11 MiB"]}, STARTED, "driver is too old", "driver 525 or later", True),
        ({"nodes": False}, STARTED, "not in /dev", "--gpus all", True),
        (
            {},
            Start([], None, ["Unable to initialize backend 'cuda': cuInit failed"]),
            "did not start: Unable to initialize backend 'cuda': cuInit failed",
            "wsis-jax[cuda]",
            True,
        ),
        ({}, STARTED, "JAX does not say why", "wsis-jax[cuda]", True),
        ({"system": "Windows"}, STARTED, "no CUDA for Windows", "WSL2", False),
        (NO_DRIVER, Start([], None, ["A Google TPU may be present on this machine"]), "a TPU", "[tpu]", False),
        (
            NO_DRIVER | {"platforms": ["cuda"]},
            Start([], "AssertionError", []),
            "JAX_PLATFORMS=cuda asks for a GPU that JAX does not get: there is no driver",
            "unset JAX_PLATFORMS, or",
            True,
        ),
        (
            {"platforms": ["tpu"]},
            Start([], "no libtpu", []),
            "does not start with JAX_PLATFORMS=tpu: no libtpu",
            "unset",
            True,
        ),
        ({}, Start([], "out of luck", []), "JAX does not start: out of luck", "JAX_PLATFORMS=cpu", True),
    ],
)
def test_why_there_is_no_accelerator(change, start, text, advice, broken):
    reason = why_no_accelerator(READY._replace(**change), start)
    assert text in reason.text
    assert advice in reason.advice
    assert reason.broken is broken


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for nvidia-smi")
@pytest.mark.parametrize(
    ("script", "gpus", "smi"),
    [
        (f"echo '{GPU}'; echo '{GPU}'", [GPU, GPU], ""),
        ("echo 'NVIDIA-SMI has failed'; exit 9", [], "NVIDIA-SMI has failed"),
        ("echo 'no library' >&2; exit 12", [], "no library"),
        ("exit 3", [], "exit code 3"),
        (None, [], None),
    ],
)
def test_nvidia_smi_is_asked(tmp_path, monkeypatch, script, gpus, smi):
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    around = surroundings()
    assert (around.gpus, around.smi, around.visible) == (gpus, smi, "1")
    assert around.jaxlib == doctor.version("jaxlib")


def test_what_jax_says_when_it_starts_is_caught(monkeypatch, capsys):
    def devices():
        logger = logging.getLogger("jax._src.xla_bridge")
        logger.info("Unable to initialize backend 'cuda': %s", "no kernel module")
        try:
            raise OSError("libcuda.so.1: cannot open")
        except OSError:
            logger.exception("Exception when calling initialize()")
        raise RuntimeError("nothing left (set JAX_PLATFORMS='' to choose)\nand more")

    monkeypatch.setattr(jax, "devices", devices)
    assert start_jax() == Start(
        [],
        "nothing left",
        [
            "Unable to initialize backend 'cuda': no kernel module",
            "Exception when calling initialize(): libcuda.so.1: cannot open",
        ],
    )
    assert capsys.readouterr() == ("", "")


def test_a_device_that_is_not_there_is_bad_input(monkeypatch, capsys):
    def devices():
        raise RuntimeError("Backend 'gpu' is not known")

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setattr("wsis_jax.cli.measure.compare", lambda *_, **__: devices())
    monkeypatch.setattr("wsis_jax.cli.measure.fresh_model", lambda width: None)
    assert main(["bench", "--side", "16"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wsis: error: ")
    assert "Backend 'gpu' is not known" in error
    assert error.count("\n") == 1


def test_a_fault_that_is_not_of_the_devices_is_raised(monkeypatch):
    def fault(*_, **__):
        raise RuntimeError("a fault of wsis")

    monkeypatch.setattr("wsis_jax.cli.measure.fresh_model", fault)
    with pytest.raises(RuntimeError, match="a fault of wsis"):
        main(["bench", "--side", "16"])


def test_what_an_extra_lacks(monkeypatch):
    versions = {"one": "1.5", "two": "3.0"}
    needs = {"one": ['two>=2; extra == "more"', 'three; extra == "more"', 'four; extra == "other"', "five"]}

    def version(name):
        if name not in versions:
            raise doctor.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "requires", needs.get)
    assert doctor.missing_for("one>=1") == []
    assert doctor.missing_for("one>=2") == ["one>=2: 1.5 installed"]
    assert doctor.missing_for("one[more]") == ["three: not installed"]
    assert doctor.missing_for("six>6") == ["six>6: not installed"]


def test_the_extras_are_those_of_users():
    assert doctor.missing_packages() == []
    extras = doctor.extras()
    assert {"cuda", "tpu", "parquet", "imagej"} <= set(extras)
    assert not {"test", "dev"} & set(extras)
    assert extras["parquet"] == []  # which the tests need


def test_pymaxflow_may_be_missing(monkeypatch):
    assert "PyMaxflow" not in doctor._versions("versions").text
    monkeypatch.setitem(sys.modules, "maxflow", None)
    monkeypatch.setattr(doctor, "requires", lambda name: ["PyMaxflow>=999", "numpy>=1"])
    finding = doctor._versions("versions")
    assert finding.status == "ok"
    assert finding.text.endswith("; cells are cut by SciPy, since PyMaxflow is not installed")


def test_an_extra_that_is_not_installed_is_neither_ok_nor_broken(monkeypatch):
    monkeypatch.setattr(doctor, "extras", lambda: {"dask": [], "bioio": ["bioio>=3: not installed"]})
    finding = doctor._extras("extras")
    assert finding.status == "note"
    assert finding.text == "dask: installed\nbioio: not installed: pip install 'wsis-jax[bioio]'"
    monkeypatch.setattr(doctor, "extras", lambda: {"dask": []})
    assert doctor._extras("extras").status == "ok"


def test_what_the_system_does_not_tell_is_left_out(monkeypatch):
    monkeypatch.delattr("os.sysconf")
    monkeypatch.delattr("os.sched_getaffinity")
    finding = doctor._machine("machine")
    assert set(finding.facts) == {"cores", "usable_cores", "temporary_folder", "temporary_space"}
    assert finding.text.startswith(f"{finding.facts['cores']} of {finding.facts['cores']} cores to use; ")


def findings(capsys) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


def test_all_is_well_here(capsys, phase_contrast):
    assert main(["doctor", "--json"]) == 0
    found = findings(capsys)
    assert list(found) == ["versions", "extras", "devices", "machine", "cache", "models", "self-test"]
    assert {one["status"] for one in found.values()} <= {"ok", "note"}
    assert found["versions"]["facts"]["jax"] == jax.__version__
    assert found["extras"]["facts"]["installed"]["parquet"] is True
    assert found["devices"]["facts"]["devices"][0]["platform"] == jax.devices()[0].platform
    assert 0 < found["machine"]["facts"]["usable_cores"] <= found["machine"]["facts"]["cores"]
    assert 0 < found["machine"]["facts"]["available"] <= found["machine"]["facts"]["memory"]
    assert found["cache"]["facts"]["writable"] is True
    assert found["models"]["facts"]["models"] == ["generalist", "histology", "nuclei", "phase-contrast"]
    test = found["self-test"]["facts"]
    assert test["f_measure"] == 1
    assert test["mdice"] >= 0.6
    assert test["run_seconds"] > 0
    assert test["compiled"] + test["loaded"] > 0


def test_wrong_numbers_and_broken_libraries_are_exit_code_3(monkeypatch, capsys, phase_contrast, tmp_path):
    def nothing_found(run, image):
        return SimpleNamespace(points=np.zeros((0, 2)), labels=np.zeros(image.shape, np.uint16))

    def broken():
        raise OSError("libgone.so: cannot open\nand more")

    monkeypatch.setattr(segmentation, "segment", nothing_found)
    monkeypatch.setattr(doctor, "surroundings", broken)
    (tmp_path / "file").touch()
    monkeypatch.setattr("wsis_jax.core.use_compilation_cache", lambda: tmp_path / "file" / "cache")
    assert main(["doctor", "--json"]) == 3
    found = findings(capsys)
    assert [name for name, one in found.items() if one["status"] == "broken"] == ["devices", "cache", "self-test"]
    assert found["devices"]["text"] == "OSError: libgone.so: cannot open"
    assert "JAX_COMPILATION_CACHE_DIR" in found["cache"]["advice"]
    assert "wrong numbers" in found["self-test"]["text"]


def test_the_table_shows_what_is_wrong_and_what_to_do(monkeypatch, capsys):
    made = [
        doctor.Finding("cache", "ok", "12 compiled programs", "", {}),
        doctor.Finding("devices", "broken", "no [GPU] here", "pip install 'wsis-jax[cuda]'", {}),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(made))
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "cache     ok       12 compiled programs" in out
    assert "devices   broken   no [GPU] here" in out
    assert "→ pip install 'wsis-jax[cuda]'" in out
