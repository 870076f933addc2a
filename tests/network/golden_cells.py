"""Four cells of a drawn image whose contribution maps PyTorch has made, and winner maps pixel by pixel."""

import jax
import numpy as np

from tests.golden.torch_reference import load_reference, reference_network
from wsis_jax.core.config import Config, ContributionConfig
from wsis_jax.network.chunks import Cells, contribution_maps, winner_map_in_chunks
from wsis_jax.network.model import Model

REFERENCE = load_reference()
IMAGE, REGIONS = REFERENCE["image"], REFERENCE["regions"]
MODEL, VARIABLES = reference_network(align_corners=False)


def varied(seed):
    """The variables of the network, every one of them changed by up to a half: signals still come through."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x * random.uniform(0.5, 1.5, x.shape).astype(np.float32), VARIABLES)


def scatter_regions(cells, seed):
    """Regions of at most 3 × 3 pixels anywhere; a later one may leave nothing of an earlier one."""
    random = np.random.default_rng(seed)
    regions = np.zeros(IMAGE.shape, np.int32)
    for cell in range(1, cells + 1):
        row, column = random.integers(IMAGE.shape)
        regions[row : row + 3, column : column + 3] = cell
    return regions


def peaks_of(regions, cells):
    """A peak in every region; the corner for a cell that has none."""
    places = [np.argwhere(regions == cell) for cell in range(1, cells + 1)]
    peaks = [place[len(place) // 2] if len(place) else (0, 0) for place in places]
    return np.array(peaks, np.int64).reshape(-1, 2)


def model_of(network, variables, **settings):
    """A model with settings of contributions."""
    return Model.of(network, variables, Config(contribution=ContributionConfig(**settings)))


def maps_of(network, variables, image, regions, *, cells, reach=None, **settings):
    """Contribution maps of cells that are known by their regions."""
    known = Cells(image, regions, peaks_of(regions, cells), reach=reach)
    return contribution_maps(model_of(network, variables, **settings), known)


def winner_of(network, variables, image, regions, *, cells, reach=None, **settings):
    """The winner map of the same."""
    known = Cells(image, regions, peaks_of(regions, cells), reach=reach)
    return winner_map_in_chunks(model_of(network, variables, **settings), known)


def brute_force_winner(maps):
    """Value, owner and runner-up of maps, pixel by pixel."""
    value, owner, runner_up = np.zeros((3, *maps.shape[1:]))
    for pixel in np.ndindex(maps.shape[1:]):
        contributions = list(maps[(slice(None), *pixel)])
        if contributions and max(contributions) > 0:
            value[pixel] = max(contributions)
            owner[pixel] = contributions.index(max(contributions)) + 1
            runner_up[pixel] = sorted(contributions)[-2] if len(contributions) > 1 else 0
    return value, owner, runner_up
