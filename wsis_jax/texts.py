"""What --help teaches of the commands."""

DESCRIPTION = """\
Segment cells after learning from rough cell centroids alone.

  wsis demo     --out demo                                try everything on drawn cells, in a few minutes
  wsis segment  phase-contrast images                     find cells with the model that comes with the package
  wsis points   points --images images                    check clicks before you learn from them
  wsis train    images --points points --run run          learn from images and clicks
  wsis segment  run images --out results                  find the cells of other images
  wsis evaluate results masks                             compare them with hand-made masks
  wsis export   run --out exported                        use the model where this package is not installed
  wsis bench                                              measure how fast it is here
"""

TRAIN = """\
Learn to find cells from images and the rough centroids of their cells: clicks, or nuclei.

  wsis train images --points points --run run
  wsis train images --nuclei stains --run run
  wsis train stacks --channel 0 --nuclei stacks --nuclear-channel 1 --run run

IMAGES and POINTS are files, folders or quoted patterns, paired by name: a.tif and a.csv. Images may be PNG,
TIFF or JPEG, grey or colour; the pages of a TIFF are frames. Point files may be a napari points layer
(axis-0, axis-1), an ImageJ results table (X, Y), or any table with columns row, column or x, y.

STAINS are images of a nuclear stain in the same places and of the same size, paired by name, too: images/a.tif and
stains/a.tif. Nuclei are bright and of about one size; each stands for a click on its cell, and an image in whose
stain there is none is left out. The number of nuclei is printed: is it about that of the cells? The trained model
needs no stain.

IMAGES and STAINS may be channels of the same files. Channels count from 0; they are those that a TIFF names
(ImageJ, OME), or else the colours, or else the pages. Without --channel, channels and pages are frames, and
colours become grey.
"""

POINTS = """\
Make, convert and check points: the rough centroids of cells.

  wsis points clicks --images images                      is anything wrong with these points?
  wsis points --nuclei stains --images images             points from a nuclear stain
  wsis points --labels masks                              points from label images
  wsis points --ctc data/01                               points from the markers in data/01_GT/TRA
  wsis points clicks --format imagej                      the same points for ImageJ

Writes to DIR a file of points for each image, which `wsis train` reads, and prints the point report. With images
it also draws each with its points: a cyan cross for each point, an orange ring around two that mark one cell, a
magenta ring around places that look like a cell and have no point.

  per Mpixel   points in a million pixels
  spacing      median distance to the nearest other point, in pixels
  at border    points within sigma of the border of the image
  doubled      pairs nearer than a fifth of the usual spacing
  missing?     places that look like a cell and have no point
  fit          how far points fit their image better than chance: usually above 10, and about 0 for points of
               another image

Missing points and the fit are told by a draft of the likelihood map, a regression that learns from the points of
all other images how cells look; it takes about two seconds a million pixels. The exit code is 3 where something is
wrong.
"""

SEGMENT = """\
Find the cells of images with a trained model: one of yours, or one that comes with the package, by its name:

  wsis segment phase-contrast image.tif                   phase contrast, cells of 25 to 60 pixels in diameter

Writes to DIR, for each image: <name>_labels.tif (0 is background, 1, 2, 3 … are cells), <name>_overlay.png (a
picture with the outlines) and <name>_points.csv (the detected cells, for napari).

With --format ctc, DIR becomes a folder of results of the Cell Tracking Challenge: maskTTT.tif for each image, with
the frame at the end of its name (mask012.tif of t012.tif; names without one are numbered in order), and
res_track.txt. Nothing is tracked: each cell is a track of one frame, which is enough for the scores SEG and DET.

  wsis segment RUN data/01 --format ctc --out data/01_RES

A model knows cells of the size that it learned. If yours are k times as large, divide image.scale of its
config.json by k and multiply likelihood.sigma by k, and give both; for scale 0.5, sigma 14 and k = 2:

  wsis segment RUN IMAGES --set image.scale=0.25 --set likelihood.sigma=28
"""

EVALUATE = """\
Compare label images with hand-made masks, paired by name (a_labels.tif and a.tif).

Detection (F-measure, precision, recall) compares points: the detected cells saved beside the labels, or else
the centroids of the labels, with those of --points, or else the centroids of the masks.
"""

EXPORT = """\
Export a trained model for programs that have JAX, but not this package.

Writes to DIR forward.stablehlo (images to likelihood maps), contributions.stablehlo (an image and its cells to
their contribution maps, in windows around the peaks) and export.json (shapes, units, settings). Both are for CPU,
CUDA and TPU, any number of images or cells, and sides that are multiples of the stride; a new shape is compiled
when it first comes. In Python, with jax and flatbuffers installed:

    import json
    from pathlib import Path
    import numpy as np
    from jax import export

    folder = Path("DIR")
    names = ("forward", "contributions")
    forward, contributions = (export.deserialize((folder / f"{n}.stablehlo").read_bytes()).call for n in names)
    likelihood = np.asarray(forward(image[None])[0])  # image: float32, 0..1
    ...  # regions: int32, i + 1 in the disc around peaks[i]; peaks: int32, (row, column)
    maps = np.asarray(contributions(image, regions, peaks))

    # The winner map: each pixel goes to the cell with the greatest contribution.
    windows = json.loads((folder / "export.json").read_text())["contributions"]
    side, margin = windows["side"], -windows["offset"]
    value = np.zeros(np.add(image.shape, side), np.float32)
    owner = np.zeros(value.shape, np.int32)
    for cell, (row, column) in enumerate(peaks):
        window = np.s_[row : row + side, column : column + side]
        wins = maps[cell] > value[window]
        value[window][wins] = maps[cell][wins]
        owner[window][wins] = cell + 1
    inside = tuple(slice(margin, margin + n) for n in image.shape)
    value, owner = value[inside], owner[inside]

`wsis segment` looks for peaks in the mean of the likelihood maps of an image and of its three mirror images
(detect.views); to find the very same cells, average the four.

Of many cells, take some at a time: contributions(image, regions - first, peaks[first : first + 64]). The memory
that one takes is roughly "bytes_per_cell" of export.json.
"""

BENCH = """\
Measure the ways to contribution maps: through windows, as far as a cell reaches (window) or all of them
(window-all), and through the whole image, several cells at a time (vmap) or one after the other (loop).

Cells are discs around random pixels. The times are the least of some rounds, and compilation is apart. GFLOP/s is
the arithmetic that a cell takes at least, by the time that it takes. "In all" has the pass forward in.
"""

DEMO = """\
Train on drawn cells, segment others, score them; it takes a few minutes.

With --model nothing is trained: a model that comes with the package, or the folder of one of yours, segments a
drawn scene whose cells are as large as those that the model learned. The scores are those of drawn cells; they say
nothing about real images.

  wsis demo --out demo
  wsis demo --out demo --model phase-contrast
"""

SET_HELP = "change a setting, as in train.steps=500 or cut.reach=3; may be given several times"
