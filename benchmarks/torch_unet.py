"""The network of `wsis_jax.unet` in PyTorch, which the benchmarks compare with."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional


class TorchUNet(nn.Module):
    """A U-Net of given blocks.

    Args:
        encoder: a block per level, full resolution first.
        decoder: a block per level on the way up, deepest first.
        output: from the last block's features to one channel.
    """

    def __init__(self, encoder: Iterable[nn.Module], decoder: Iterable[nn.Module], output: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.output = nn.ModuleList(encoder), nn.ModuleList(decoder), output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the likelihood maps of (batch, 1, height, width) images."""
        skips = []
        for level, block in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = functional.max_pool2d(x, 2)
            x = block(x)
        for block in self.decoder:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skips.pop(), x], dim=1))
        return torch.sigmoid(self.output(x))
