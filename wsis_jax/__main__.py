"""`python -m wsis_jax` is `wsis`."""

import sys

from wsis_jax.cli import main

sys.exit(main())
