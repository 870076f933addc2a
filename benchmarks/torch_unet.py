"""The network of `wsis_jax.unet` in PyTorch, on a GPU if there is one, and its training step."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_Result = TypeVar("_Result")


def synchronize(result: _Result) -> _Result:
    """Returns a result when the device has computed it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return result


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


def fresh_unet(encoder: tuple[int, ...], decoder: tuple[int, ...]) -> TorchUNet:
    """Returns a network with batch norm."""
    going_down = zip((1, *encoder), encoder, strict=False)
    going_up = zip((encoder[-1], *decoder), encoder[-2::-1], decoder, strict=False)
    return TorchUNet(
        [_double_conv(inputs, outputs) for inputs, outputs in going_down],
        [_double_conv(skip + inputs, outputs) for inputs, skip, outputs in going_up],
        nn.Conv2d((*encoder[-1:], *decoder)[-1], 1, 1),
    )


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Returns convolution, batch norm and ReLU, twice."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers)


def torch_step(
    network: TorchUNet,
    images: np.ndarray,
    targets: np.ndarray,
    memory_format: torch.memory_format,
    *,
    learning_rate: float,
) -> Callable[[], None]:
    """Returns a function that does one training step: mean squared error and Adam."""
    network = network.to(device=DEVICE, memory_format=memory_format)
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    x, y = (torch.from_numpy(part.transpose(0, 3, 1, 2).copy()).to(DEVICE) for part in (images, targets))
    x = x.to(memory_format=memory_format)

    def step() -> None:
        optimizer.zero_grad()
        functional.mse_loss(network(x), y).backward()
        synchronize(optimizer.step())

    return step
