"""Run folders; `run` is a trained model."""

import json
import os
import shutil
from pathlib import Path

_SEGMENT = "images --out OUT"

CASES = {
    "run folder in use": ("train images --points points --run RUN", 2, "run: holds a training already"),
    "nothing to resume": ("train images --points points --resume", 2, "new: no config.json here"),
    "other settings to resume": (
        "train images --points points --resume --run RUN",
        2,
        "run: was started with other",
    ),
    "another network than that to start from": (
        "train images --points points --from RUN",
        2,
        "run: its network has unet.encoder=[4, 8, 8], not [2, 4]",
    ),
    "size of a network to start from": (
        "train images --points points --from RUN --size small",
        2,
        "--size is that of a network that learns from nothing",
    ),
    "missing model to start from": ("train images --points points --from nowhere", 2, "nowhere: no trained model"),
    "run folder in brackets": (
        "train images --points points --run OUT[1]",
        2,
        "weights cannot be kept below a folder",
    ),
    "file as run folder": ("train images --points points --run ok.tif", 2, "ok.tif"),
    "not a run folder": (f"segment images {_SEGMENT}", 2, "images: no trained model here"),
    "image and model swapped": (
        "segment ok.tif RUN --out OUT",
        2,
        "run is a model and ok.tif is none; give the model first: run ok.tif",
    ),
    "folder and model of the package swapped": (
        "segment images phase-contrast --out OUT",
        2,
        "phase-contrast is a model and images is none; give the model first: phase-contrast images",
    ),
    "image as model": (
        "segment ok.tif images --out OUT",
        2,
        "ok.tif: is a file and no trained model; give the run folder",
    ),
    "missing model": (f"segment phase-contrats {_SEGMENT}", 2, "phase-contrats: no trained model here"),
    "broken configuration": (f"segment broken {_SEGMENT}", 2, "broken/config.json: not a configuration"),
    "configuration that is a list": (f"segment list {_SEGMENT}", 2, "list/config.json: not a configuration"),
    "configuration in brackets": (f"segment nested {_SEGMENT}", 2, "nested/config.json: not a configuration"),
    "binary configuration": (f"segment binary {_SEGMENT}", 2, "binary/config.json: not a configuration"),
    "configuration of 300 MiB": (
        f"segment long {_SEGMENT}",
        2,
        "long/config.json: has 300 MiB of text",
    ),
    "configuration of another version": (
        f"segment newer {_SEGMENT}",
        2,
        "unknown key 'cut.knife'; section cut has",
    ),
    "configuration with a width of 10^9": (
        f"segment wide {_SEGMENT}",
        2,
        "unet.encoder must be at most 10 widths",
    ),
    "weights missing": (f"segment lost {_SEGMENT}", 2, "lost: no trained model here"),
    "weights damaged": (
        f"segment bits {_SEGMENT}",
        2,
        "bits/weights/80: damaged, or of a network of another shape",
    ),
    "weights of another network": (
        f"segment other-net {_SEGMENT}",
        2,
        "damaged, or of a network of another shape",
    ),
    "weights that are text": (f"segment text-net {_SEGMENT}", 2, "damaged, or of a network of another shape"),
    "weights that are a link to elsewhere": (
        "train images --points points --run linked",
        2,
        "linked/weights: is a link",
    ),
    "metrics that are a link to elsewhere": (
        "train images --points points --run steered",
        2,
        "metrics.jsonl: is a link",
    ),
    "facts that are a list": ("report facts", 2, "facts/training.json: not readable as JSON"),
    "facts of other kinds": ("report kinds", 2, "kinds/training.json: does not hold the facts of a training"),
    "metrics damaged": ("report figures", 2, "figures/metrics.jsonl: is damaged"),
    "sample that is not a picture": ("report sample", 2, "step_000080.png: cannot be read as a picture"),
    "sample that is a link to elsewhere": ("report secret", 2, "step_000080.png: is a link that leads out"),
    "model to export missing": ("export images --out OUT", 2, "images: no trained model here"),
    "regions without bounds": (
        "export RUN --set detect.region=response --out OUT",
        2,
        "detect.region=response bounds",
    ),
}


def make(folder: Path) -> None:
    run = folder / "run"

    def copy(name: str) -> Path:
        return Path(shutil.copytree(run, folder / name))

    def configured(name: str, text: str | bytes) -> None:
        (copy(name) / "config.json").write_bytes(text.encode() if isinstance(text, str) else text)

    tree = json.loads((run / "config.json").read_text())
    configured("broken", '{"train": ')
    configured("list", "[1, 2]")
    configured("nested", "[" * 100_000)
    configured("binary", bytes(range(256)))
    configured("newer", json.dumps(tree | {"cut": tree["cut"] | {"knife": 1}}))
    configured("wide", json.dumps(tree | {"unet": tree["unet"] | {"encoder": [10**9] * 3}}))
    configured("other-net", json.dumps(tree | {"unet": tree["unet"] | {"encoder": [4, 8, 16]}}))
    os.truncate(copy("long") / "config.json", 300 << 20)
    shutil.rmtree(copy("lost") / "weights")
    for file in (copy("bits") / "weights").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[::2])
    for file in (copy("text-net") / "weights").rglob("*"):
        if file.is_file():
            file.write_text("weights")
    # Links that would have us write to, or show, what is elsewhere
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "key.txt").write_text("secret")
    for name, part in {"linked": "weights", "steered": "metrics.jsonl"}.items():
        (folder / name).mkdir()
        (folder / name / part).symlink_to(folder / "elsewhere")
    for name in ("facts", "kinds", "figures", "sample", "secret"):
        copy(name)
    (folder / "facts" / "training.json").write_text("[]")
    (folder / "kinds" / "training.json").write_text('{"images": [{"name": 1, "points": "many"}]}')
    (folder / "figures" / "metrics.jsonl").write_text('{"step": "first"}\n')
    sample = "samples/step_000080.png"
    (folder / "sample" / sample).write_text("no picture")
    (folder / "secret" / sample).unlink()
    (folder / "secret" / sample).symlink_to(folder / "elsewhere" / "key.txt")
