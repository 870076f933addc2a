"""The same network with the same weights in PyTorch, and guided backpropagation as it is done there.

The signal of a cell starts at 1 in its centre region, as ours does by default. PyTorch is given its best:
evaluation without batch norm (it is folded into the weights), gradients of the input alone, all cores or the GPU,
where maps stay, and the better of its two memory formats, which a trial with one cell decides. It computes in the
precision of the model, with TF32 for float32 where the GPU has it, as JAX does.
"""

import os
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import torch
from torch import nn

from benchmarks.torch_unet import DEVICE, TorchUNet, synchronize
from wsis_jax.cli.measure import Case, Method, draw_case, noise
from wsis_jax.network import Model, contribution_maps, full_multiply_adds

_TOLERANCE = 1e-4  # of the greatest contribution
_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

torch.set_num_threads(os.cpu_count() or 1)
torch.set_float32_matmul_precision("high")
torch.backends.cudnn.allow_tf32 = True
warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")  # Captum says so for every cell


def folded_unet(model: Model) -> TorchUNet:
    """Returns the network of a model, ready for derivatives by its input alone."""
    params, network = model.variables["params"], model.network
    encoder, decoder = (
        [_block(params[f"{part}_{i}"]) for i in range(len(widths))]
        for part, widths in (("encoder", network.encoder), ("decoder", network.decoder))
    )
    return TorchUNet(encoder, decoder, _convolution(params["output"])).eval().requires_grad_(False)


class CellScore(nn.Module):
    """The sum of the likelihood in a cell's region: Captum takes derivatives of numbers, not of maps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Returns a number per image whose derivative by the likelihood is 1 in the cell's region."""
        return (self.network(x) * mask).sum(dim=(1, 2, 3))


def _block(params: Any) -> nn.Sequential:
    """Returns convolution and ReLU, twice; each ReLU is a module of its own, as hooks need it."""
    return nn.Sequential(_convolution(params["conv_0"]), nn.ReLU(), _convolution(params["conv_1"]), nn.ReLU())


def _convolution(params: Any) -> nn.Conv2d:
    kernel = torch.from_numpy(np.array(params["kernel"], np.float32).transpose(3, 2, 0, 1).copy())
    outputs, inputs, side, _ = kernel.shape
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2)
    convolution.weight.data = kernel
    convolution.bias.data = torch.from_numpy(np.array(params["bias"], np.float32))
    return convolution


def _tensors(case: Case, memory_format: str) -> tuple[TorchUNet, torch.Tensor, list[torch.Tensor]]:
    """Returns network, image and one mask per cell."""
    model, (image, regions, peaks, *_) = case
    place: dict[str, Any] = {"device": DEVICE, "dtype": getattr(torch, model.config.unet.precision)}
    network = folded_unet(model).to(memory_format=_FORMATS[memory_format], **place)
    pixels = torch.from_numpy(image)[None, None].to(memory_format=_FORMATS[memory_format], **place)
    masks = [torch.from_numpy(regions == cell)[None, None].to(DEVICE) for cell in range(1, len(peaks) + 1)]
    return network, pixels, masks


def by_torch(case: Case, memory_format: str) -> Method:
    """Returns a loop written by hand: one pass forward, and one backward per cell with hooks on the ReLUs.

    The authors' code repeats the pass forward for every cell; no loop need do that, so it is not counted here.
    """
    network, image, masks = _tensors(case, memory_format)

    def rectify(module: nn.Module, inputs: tuple[torch.Tensor, ...], outputs: Any) -> tuple[torch.Tensor]:
        return (inputs[0].clamp(min=0),)

    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_full_backward_hook(rectify)

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        x = image.clone().requires_grad_()
        return synchronize((x, network(x)))

    def back(recorded: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        x, y = recorded
        gradients = (torch.autograd.grad(y, x, mask.to(y.dtype), retain_graph=True)[0] for mask in masks)
        return synchronize([gradient[0, 0].clamp(min=0) for gradient in gradients])

    return Method("torch", len(masks), _flop_of_a_pass(case), forward, back)


def by_captum(case: Case, memory_format: str) -> Method:
    """Returns Captum's guided backpropagation, which passes forward and backward for every cell."""
    from captum.attr import GuidedBackprop  # here, since PyTorch's own loop needs no Captum

    network, image, masks = _tensors(case, memory_format)
    guided = GuidedBackprop(CellScore(network))

    def back(_: None) -> list[torch.Tensor]:
        x = image.clone().requires_grad_()
        gradients = (guided.attribute(x, additional_forward_args=(mask,)) for mask in masks)
        return synchronize([gradient[0, 0].detach().clamp(min=0) for gradient in gradients])

    return Method("captum", len(masks), 2 * _flop_of_a_pass(case), lambda: None, back)


def _flop_of_a_pass(case: Case) -> int:
    network = case.model.network
    return 2 * full_multiply_adds(case.cells.image.shape, network.encoder, network.decoder)


PEERS: dict[str, Callable[[Case, str], Method]] = {"torch": by_torch, "captum": by_captum}


def details(name: str, memory_format: str) -> dict[str, Any]:
    """Returns what a line of JSON should say of a peer."""
    versions = {package: version(package) for package in dict.fromkeys(("torch", name))}
    return {"device": DEVICE, "memory_format": memory_format, "threads": torch.get_num_threads(), **versions}


def better_format(case: Case, name: str) -> str:
    """Returns the memory format in which one cell of the case takes less time."""

    def seconds(memory_format: str) -> float:
        one = case.cells._replace(peaks=case.cells.peaks[:1])
        method = PEERS[name](case._replace(cells=one), memory_format)
        start = time.perf_counter()
        method.back(method.forward())
        return time.perf_counter() - start

    return min(_FORMATS, key=seconds)


def check(model: Model, name: str) -> None:
    """Raises RuntimeError unless a peer's contribution maps of a small image are ours, in both formats.

    The model is one of float32, and all numbers have all of its bits here.
    """
    case = draw_case(model, noise(64, 80), cells=3, radius=9.0)
    with _all_bits():
        ours = contribution_maps(*case)
        for memory_format in _FORMATS:
            method = PEERS[name](case, memory_format)
            theirs = torch.stack(method.back(method.forward())).cpu().numpy()
            error = np.abs(theirs - ours).max() / ours.max()
            if not error < _TOLERANCE:
                raise RuntimeError(
                    f"maps of {name} ({memory_format}) differ from ours by {error:.1e} of the maximum"
                )


@contextmanager
def _all_bits() -> Generator[None, None, None]:
    """Context manager in which neither JAX nor PyTorch rounds float32 numbers to TF32."""
    matmul, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with jax.default_matmul_precision("highest"):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolutions
