"""Folders of results, as a stranger or a crash may have left them; they are not written to."""

import json
from pathlib import Path

_SEGMENT = "segment RUN ok.tif --out"
_SUMMARY = "report/summary.json: not readable as JSON"

CASES = {
    "file as folder of results": (f"{_SEGMENT} ok.tif", 2, "ok.tif"),
    "damaged manifest": (f"{_SEGMENT} manifest-bits", 2, "manifest.jsonl: line 1 is damaged"),
    "manifest of other kinds": (f"{_SEGMENT} manifest-kinds", 2, "manifest.jsonl: line 1 is damaged"),
    "manifest of files elsewhere": (f"{_SEGMENT} manifest-away", 2, "manifest.jsonl: line 1 is damaged"),
    "manifest of an absolute path": (f"{_SEGMENT} manifest-root", 2, "manifest.jsonl: line 1 is damaged"),
    "manifest that is a link to elsewhere": (
        f"{_SEGMENT} manifest-link",
        2,
        "manifest.jsonl: is a link that leads",
    ),
    "binary manifest": (f"{_SEGMENT} manifest-binary", 2, "manifest.jsonl: is not text"),
    "pictures that are a link to elsewhere": (f"{_SEGMENT} report-link", 2, "report-link/report: is a link that"),
    "results of another batch": (f"{_SEGMENT} old-ctc --format ctc", 2, "mask000.tif: the folder holds results"),
    "report of nothing": ("report images", 2, "images: neither a run folder nor a folder of results"),
    "report of a missing folder": ("report nowhere", 2, "nowhere: neither a run folder nor a folder of results"),
    "summary that is not JSON": ("report summary-bits", 2, _SUMMARY),
    "summary that is a list": ("report summary-list", 2, _SUMMARY),
    "summary of images elsewhere": (
        "report summary-away",
        2,
        "'../../a' is not a plain file name, and might lead out of this folder",
    ),
    "summary without settings": ("report summary-bare", 2, _SUMMARY),
    "picture of a result that is a link": ("report layer-link", 2, "a_image.webp: is a link that leads out"),
    "picture of a result that is none": ("report layer-text", 2, "a_image.webp: cannot be read as a picture"),
    "table of a result that is none": ("report table-text", 2, "a_cells.csv: is not a table of cells"),
}


def make(folder: Path) -> None:
    def write(name: str, file: str, data: object) -> Path:
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")
        return path

    entry = {"name": "ok", "key": "0", "cells": 3, "warnings": [], "files": ["ok_labels.tif"]}
    write("manifest-bits", "manifest.jsonl", b'{"name": "ok", \n')
    write("manifest-kinds", "manifest.jsonl", entry | {"files": [1, 2]})
    write("manifest-away", "manifest.jsonl", entry | {"files": ["../ok.tif"]})
    write("manifest-root", "manifest.jsonl", entry | {"files": ["/etc/passwd"]})
    write("manifest-binary", "manifest.jsonl", bytes(range(128, 256)) + b"\n")
    for name, part in {"manifest-link": "manifest.jsonl", "report-link": "report"}.items():
        (folder / name).mkdir()
        (folder / name / part).symlink_to(folder / "elsewhere")
    write("old-ctc", "mask000.tif", b"old")
    config = json.loads((folder / "run" / "config.json").read_text())
    image = {"name": "a", "source": "a.tif", "cells": 3, "warnings": []}
    summary = {"run": "run", "images": [image], "failed": [], "config": config, "versions": {}}
    file = "report/summary.json"
    write("summary-bits", file, b'{"images": ')
    write("summary-list", file, [summary])
    write("summary-away", file, summary | {"images": [image | {"name": "../../a"}]})
    write("summary-bare", file, {"run": "run", "images": [], "failed": []})
    for name in ("layer-link", "layer-text", "table-text"):
        write(name, file, summary)
    (folder / "layer-link" / "report" / "a_image.webp").symlink_to(folder / "elsewhere" / "key.txt")
    write("layer-text", "report/a_image.webp", b"RIFF\0\0\0\0WEBP and no more")
    write("table-text", "a_cells.csv", b"area\n" + b"1" * 200_000 + b"\n")
