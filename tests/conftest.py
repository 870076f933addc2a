"""Settings that hold for every test."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

# Compilation, not arithmetic, is what tests on small arrays spend their time on.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)
