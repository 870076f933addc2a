"""Tells points in micrometres, which programs write of calibrated images, from points in pixels."""

import numpy as np
from jaxtyping import Float, Float64

from wsis_jax.core import ImageConfig, UserError, grey, inside, normalize_by, scale_points
from wsis_jax.points.checks import fit
from wsis_jax.points.draft import draft_scale, study
from wsis_jax.points.likelihood import suggest_sigma

_SURE = 7.0  # a fit above this is not chance
_BETTER = 1.5  # × the fit in pixels: points that fit so much better in micrometres are in micrometres
_FEWEST = 2  # points outside of the image; one may be a slip of the mouse
_MANY = 0.1  # of the points outside: more are not slips


def check_unit(
    image: Float[np.ndarray, "height width *channels"],
    points: Float64[np.ndarray, "points 2"],
    pixel_size: float | None,
    *,
    name: str,
) -> None:
    """Raises UserError for points given in pixels that look like micrometres: only so do they fit their image.

    The comparison takes about two seconds for a million pixels. It is left out unless all points, read as
    micrometres, lie in the image; points in pixels rarely do where a pixel is less than a micrometre wide.

    Args:
        image: finite values of any range.
        points: (row, column) as they were given.
        pixel_size: side of a pixel in µm, or None where it is not known: then nothing is refused.
        name: of the points, for the message.

    Raises:
        UserError: if they look as if they were in micrometres; it says how to tell.
    """
    if pixel_size is None or abs(pixel_size - 1) < 0.02 or not len(points):
        return
    shape = image.shape[0], image.shape[1]
    if not inside(points / pixel_size, shape).all():
        return
    outside = np.count_nonzero(~inside(points, shape))
    if outside:
        swapped = inside(points[:, ::-1], shape).all()
        if swapped or outside < max(_FEWEST, _MANY * len(points)):
            return
        why = "they lie in the image only so"
    else:
        seen = grey(normalize_by(ImageConfig(), image.astype(np.float32)))
        as_pixels, as_micrometres = _fit(seen, points), _fit(seen, points / pixel_size)
        if as_micrometres < max(_SURE, _BETTER * as_pixels):
            return
        why = "they fit the image much better so"
    raise UserError(
        f"{name}: the points look as if they were in micrometres, at the {pixel_size:g} µm a pixel of the image, "
        f"since {why}; give --points-in um, or --points-in pixels if they are not"
    )


def _fit(image: Float[np.ndarray, "height width"], points: Float64[np.ndarray, "points 2"]) -> float:
    """Returns how well points fit an image, of which each quarter is drafted from the others."""
    try:
        sigma = suggest_sigma([points])
    except UserError:  # of points all in one place
        return 0.0
    return fit(study(image, points, sigma=sigma).draft, scale_points(points, draft_scale(sigma)))
