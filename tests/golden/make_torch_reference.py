"""Writes torch_reference.npz: likelihood and contribution maps of a small U-Net, as PyTorch computes them.

Needs `pip install torch`, then

    python tests/golden/make_torch_reference.py

Takes seconds. One set of random weights serves both kinds of upsampling. The tests read the file through
`torch_reference.py` and need no torch.
"""

import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ENCODER, DECODER = (4, 6, 8), (6, 4)
SHAPE = (24, 32)


class GuidedReLU(torch.autograd.Function):
    """Passes the signal where both it and the input are positive (paper Eq. 2-3)."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context, signal):
        (x,) = context.saved_tensors
        return signal.clamp(min=0) * (x > 0)


class DeconvnetReLU(torch.autograd.Function):
    """Passes the signal where it is positive, whatever the input was."""

    @staticmethod
    def forward(context, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(context, signal):
        return signal.clamp(min=0)


ACTIVATIONS = {"guided": GuidedReLU.apply, "gradient": torch.relu, "deconvnet": DeconvnetReLU.apply}


class DoubleConv(nn.Module):
    """Convolution, batch norm, activation; twice."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm_0 = nn.BatchNorm2d(outputs)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(outputs)

    def forward(self, x, activation):
        x = activation(self.norm_0(self.conv_0(x)))
        return activation(self.norm_1(self.conv_1(x)))


class UNet(nn.Module):
    """The U-Net of `wsis_jax.unet`, with the names of its parts."""

    def __init__(self):
        super().__init__()
        widths = (1, *ENCODER)
        for level, (inputs, outputs) in enumerate(zip(widths, ENCODER, strict=False)):
            self.add_module(f"encoder_{level}", DoubleConv(inputs, outputs))
        below = ENCODER[-1]
        for level, (skip, outputs) in enumerate(zip(ENCODER[-2::-1], DECODER, strict=True)):
            self.add_module(f"decoder_{level}", DoubleConv(skip + below, outputs))
            below = outputs
        self.output = nn.Conv2d(below, 1, 1)

    def forward(self, x, activation, *, align_corners):
        skips = []
        for level in range(len(ENCODER)):
            if level:
                skips.append(x)
                x = functional.max_pool2d(x, 2)
            x = self.get_submodule(f"encoder_{level}")(x, activation)
        for level in range(len(DECODER)):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=align_corners)
            x = self.get_submodule(f"decoder_{level}")(torch.cat([skips.pop(), x], dim=1), activation)
        return torch.sigmoid(self.output(x))


def draw_weights(network):
    """Fills the network with numbers that no part of it can do without, gains of batch norm of both signs."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.6, 1.4)
            part.weight.data[0] *= -1
            nn.init.normal_(part.bias, 0.1, 0.3)
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    network.output.weight.data = torch.linspace(1.5, -0.5, DECODER[-1])[None, :, None, None]
    nn.init.constant_(network.output.bias, 0.3)


def draw_regions():
    """Returns the regions of four cells: one in a corner, one inside, two that touch, one at the border."""
    regions = np.zeros(SHAPE, np.int32)
    regions[:3, :3] = 1
    regions[9:14, 12:16] = 2
    regions[9:14, 16:21] = 3
    regions[21:, 26:30] = 4
    return regions


def main():
    """Writes the file."""
    torch.manual_seed(1)
    network = UNet()
    draw_weights(network)
    network.eval()
    regions = draw_regions()
    image = torch.rand(1, 1, *SHAPE)
    odd = torch.randn(1, 3, 5, 7)
    arrays = {f"weights/{name}": value for name, value in network.state_dict().items() if value.ndim}
    arrays |= {"image": image[0, 0], "odd": odd}
    for corners in (False, True):
        frame = f"align_corners={corners}"
        arrays[f"{frame}/odd"] = functional.interpolate(
            odd, scale_factor=2, mode="bilinear", align_corners=corners
        )
        for rule, activation in ACTIVATIONS.items():
            pixels = image.clone().requires_grad_()
            y = network(pixels, activation, align_corners=corners)
            arrays[f"{frame}/likelihood"] = y.detach()[0, 0]
            maps = []
            for cell in range(1, regions.max() + 1):
                signal = y.detach() * torch.from_numpy(regions == cell)
                (gradient,) = torch.autograd.grad(y, pixels, signal, retain_graph=True)
                maps.append(gradient[0, 0].clamp(min=0))
            arrays[f"{frame}/{rule}"] = torch.stack(maps)
    numbers = {name: value.numpy().astype(np.float32) for name, value in arrays.items()}
    np.savez_compressed(pathlib.Path(__file__).with_name("torch_reference.npz"), regions=regions, **numbers)


if __name__ == "__main__":
    main()
