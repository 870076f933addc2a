"""`wsis tune`: its help, its arguments and what it does."""

import argparse
from pathlib import Path

from wsis_jax.cli.arguments import add_axes, add_channel, add_components, add_verbose, check_order, choosing
from wsis_jax.cli.terminal import progress_bar
from wsis_jax.core import UserError, so_many

SUMMARY = "choose how cells are cut by a few masks"

TEXT = """\
Choose how the cells of a trained model are cut, by a few images with hand-made masks.

  wsis tune run images masks

IMAGES and MASKS are files, folders or quoted patterns, paired by name. The network stays as it is; only the
settings of the cut change (section cut of RUN/config.json): whether grey value or colour tells cells, how far
contributions are trusted, how outlines follow edges. A setting is changed where that makes the mean Dice of cells
better. The scores before and after are printed, and so is what changed. They are of the images that chose:
keep a few masks aside to see what is gained on others (wsis evaluate).

One image can do; three or more are surer. A model that comes with the package is not written to: what is printed
can be given to wsis segment instead.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    command.add_argument("run", type=Path, metavar="RUN", help="the run folder of a training, or a model's name")
    command.add_argument("images", metavar="IMAGES", help="a file, a folder or a quoted pattern")
    command.add_argument("masks", metavar="MASKS", help="label images of the cells in them, named alike")
    add_channel(command, "to segment", "what the model learned from")
    add_axes(command)
    add_components(command, "MASKS")
    command.add_argument("--dry-run", action="store_true", help="print what would be changed, and change nothing")
    add_verbose(command)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from wsis_jax.io import (
        LABEL_SUFFIXES,
        MASK_SUFFIXES,
        named_files,
        named_images,
        pair_with_partners,
        read_image,
        read_labels,
    )
    from wsis_jax.network import load_model
    from wsis_jax.segmentation import MaskedImage, tune_cuts
    from wsis_jax.training import save_config

    check_order(arguments.run, [arguments.images, arguments.masks])
    model = load_model(arguments.run)
    model = model.using(choosing(model.config, arguments.channel))
    images = named_images(arguments.images)
    masks = named_files(arguments.masks, suffixes=MASK_SUFFIXES if arguments.components else LABEL_SUFFIXES)
    pairs = pair_with_partners(images, masks, partner="mask", example="a.tif and a_labels.tif")
    cases = []
    for image, mask in pairs:
        frames = read_image(image, channel=model.config.image.channels, axes=arguments.axes)
        if len(frames) != 1:
            raise UserError(f"{image}: holds {len(frames)} images; give files of one image each, as the masks are")
        cases.append(MaskedImage(str(image), frames[0], read_labels(mask, components=arguments.components)))
    with progress_bar() as bar:
        task = bar.add_task("trying settings", total=None)
        tuned = tune_cuts(model, cases, on_trial=lambda done, total: bar.update(task, completed=done, total=total))
    for name, key in (("mean Dice", "mdice"), ("AP at IoU 0.5", "ap50"), ("panoptic quality", "pq")):
        print(f"{name}: {getattr(tuned.before, key):.3f} before, {getattr(tuned.after, key):.3f} after")
    print(f"on {so_many(tuned.before.cells, 'cell')} in {so_many(len(cases), 'image')}")
    if not tuned.changed:
        print("Nothing is better than what is set; nothing was changed.")
        return 0
    print(" ".join(f"--set {name}={value}" for name, value in tuned.changed.items() if value is not None))
    if (arguments.run / "config.json").is_file() and not arguments.dry_run:
        save_config(arguments.run, tuned.config)
        print(f"The settings are in {arguments.run / 'config.json'}, and wsis segment uses them.")
    return 0
