"""What test_devices.py asks of a process with COUNT simulated devices: python many_devices.py COUNT FOLDER.

It trains on what is in the folder. Where there is no other process it then propagates cells, leaves `seen.npz` and
prints who took part; otherwise it prints which files of the folder it wrote.
"""

import os
import sys
from pathlib import Path
from unittest.mock import patch

BATCH = 6
SETTINGS = (
    "image.scale=1 likelihood.sigma=3 unet.encoder=[2,4] unet.decoder=[2] train.steps=2 train.evaluate_every=2 "
    f"train.validation=0.5 train.batch={BATCH} train.patch=16 train.warmup=0 train.learning_rate=0.01"
)


def train_in(folder: Path, run: Path) -> None:
    """Trains with the command, on the images and points of a folder."""
    from wsis_jax.cli import main

    settings = [part for setting in SETTINGS.split() for part in ("--set", setting)]
    data = ["train", str(folder / "image"), "--points", str(folder / "points"), "--run", str(run)]
    assert main([*data, "--size", "full", *settings]) == 0


def look(model):
    """Likelihood maps of six images and contribution maps of cells, and how many devices took part in each."""
    import numpy as np

    from wsis_jax.network import Cells, chunks, contribution_maps, record_images
    from wsis_jax.points.likelihood import centre_regions

    images = np.random.default_rng(0).random((6, 32, 48), np.float32)
    peaks = np.array([[2, 3], [8, 40], [16, 20], [25, 9], [30, 46]])
    regions = centre_regions(images[0], peaks, region="disc", radius=3.0, response=0.0)
    records = record_images(model, images, (32, 48))
    seen = {"likelihood": np.asarray(records.likelihood)}
    counts = {"likelihood": len(records.likelihood.sharding.device_set)}
    for method in ("window", "vmap"):
        shares = set()

        def noted(each, ahead=chunks._one_ahead, shares=shares):
            for maps in ahead(each):
                shares.add(len(maps.sharding.device_set))
                yield maps

        with patch.object(chunks, "_one_ahead", noted):
            settings = [f"contribution.method={method}", "contribution.chunk=3"]
            there = model.using(model.config.override(settings))
            seen[method] = contribution_maps(there, Cells(images[0], regions, peaks))
        (counts[method],) = shares
    return seen, counts


def room_for_four(back):
    """What stands for `compiled_back` where more than four cells do not fit into memory."""
    import jax

    def cramped(*given, **options):
        if len(given[2].peaks) > 4:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return back(*given, **options)

    return lambda: cramped


def main() -> None:
    """Does all that, in the environment that jax.distributed is told by."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={count}"
    written: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            written.append(str(arguments[0]))

    sys.addaudithook(watch)
    import jax
    import numpy as np

    jax.config.update("jax_disable_most_optimizations", True)
    train_in(folder, folder / f"run_{count}")
    if jax.process_count() == 1:
        import warnings

        from test_devices import model

        from wsis_jax.core.devices import local_mesh, shared_by_all, training_mesh
        from wsis_jax.network import chunks

        seen, counts = look(model())
        with patch.object(chunks, "compiled_back", room_for_four(chunks.compiled_back())):
            fewer, shares = look(model())
        seen["fewer"], counts["fewer"] = fewer["window"], shares["window"]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            meshes = {f"training_{batch}": training_mesh(batch).size for batch in (16, 12, 7)}
        counts |= {"local_4": local_mesh(4).size, "chunk_9": shared_by_all(9), "warnings": len(caught), **meshes}
        np.savez(folder / "seen.npz", **seen)
        print(counts)
    else:
        print(*(path for path in written if str(folder) in path), sep="\n")


if __name__ == "__main__":
    main()
