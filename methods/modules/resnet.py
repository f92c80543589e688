"""Residual networks as the WSSS literature uses them: frozen norms, chosen strides, all stage outputs.

Sources:
- He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
- CAM networks: stride 16 through strides (2, 2, 2, 1), norms with stored statistics but trained affine
  (released code of Ahn et al. 2019 and Ru et al. 2021).
- DeepLab v2: the Caffe layout, whose blocks stride in the first 1x1 convolution, with dilation.

The blocks and all names are torchvision's, so ImageNet weights of torchvision load after dropping `fc.*`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from harness.conversion import Conversion
from harness.errors import InputError

BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always normalises with the stored statistics, in training as well; affine as usual."""

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


NORMS: dict[str, type[nn.BatchNorm2d]] = {"frozen": FrozenBatchNorm2d, "batch": nn.BatchNorm2d}


@MODELS.register_module()
class StageResNet(nn.Module):
    """ResNet that returns the outputs of its stem and of its four layers.

    Args:
        depth: 18 (basic blocks), 50 or 101 (bottlenecks).
        strides: of the stem convolution, layer2, layer3 and layer4; the stem's max-pool always halves.
        dilations: of the 3x3 convolutions of layer1 to layer4, in every block of the layer.
        base_channels: width of the stem; layer1 to layer4 have 1, 2, 4 and 8 times as much inside a block.
        norm: 'frozen' normalises with stored statistics (fine-tuning), 'batch' is ordinary batch norm
            (training from random weights).
        freeze_affine: keep scale and bias of all norms as they are (DeepLab v2), too.
        freeze_stem: no gradients for the stem.
        detach_after: the stem and this many layers run without autograd, so nothing in them is trained and
            their activations are not kept; 0 detaches nothing.
        style: 'pytorch' strides in the 3x3 convolution; 'caffe' in the first 1x1 and pools in ceil mode.

    Raises:
        InputError: an unknown depth, norm or style.
    """

    def __init__(
        self,
        depth: int = 50,
        *,
        strides: Sequence[int] = (2, 2, 2, 1),
        dilations: Sequence[int] = (1, 1, 1, 1),
        base_channels: int = 64,
        norm: Literal["frozen", "batch"] = "frozen",
        freeze_affine: bool = False,
        freeze_stem: bool = True,
        detach_after: int = 0,
        style: Literal["pytorch", "caffe"] = "pytorch",
    ) -> None:
        super().__init__()
        _check_choice("depth", depth, BLOCKS)
        _check_choice("norm", norm, NORMS)
        _check_choice("style", style, ("pytorch", "caffe"))
        block, counts = BLOCKS[depth]
        self.strides = tuple(strides)
        self.detach_after = detach_after
        self._norm, self._style = NORMS[norm], style
        self._channels = base_channels

        self.conv1 = nn.Conv2d(3, base_channels, 7, strides[0], padding=3, bias=False)
        self.bn1 = self._norm(base_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=style == "caffe")
        layer_strides = (1, *strides[1:])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            self._layer(block, base_channels * 2**i, counts[i], layer_strides[i], dilations[i])
            for i in range(4)
        )
        self.out_channels = self._channels
        self._init_weights()
        if freeze_stem:
            self.conv1.requires_grad_(False)
            self.bn1.requires_grad_(False)
        if freeze_affine:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)

    def _layer(
        self, block: type[BasicBlock] | type[Bottleneck], width: int, count: int, stride: int, dilation: int
    ) -> nn.Sequential:
        blocks: list[nn.Module] = []
        for index in range(count):
            step = stride if index == 0 else 1
            shortcut = None
            if step != 1 or self._channels != width * block.expansion:
                shortcut = nn.Sequential(
                    nn.Conv2d(self._channels, width * block.expansion, 1, step, bias=False),
                    self._norm(width * block.expansion),
                )
            # torchvision derives the inner width of a bottleneck from `planes` alone when groups = 1.
            unit = block(self._channels, width, step, shortcut, norm_layer=self._norm)
            if self._style == "caffe" and isinstance(unit, Bottleneck):
                unit.conv1.stride, unit.conv2.stride = unit.conv2.stride, unit.conv1.stride
            _dilate(unit, dilation)
            blocks.append(unit)
            self._channels = width * block.expansion
        return nn.Sequential(*blocks)

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self._norm is not FrozenBatchNorm2d:
            return
        # Norms with fixed statistics do not normalise a random network, whose activations would double in
        # every block; pretrained weights replace these values.
        last_norms = [
            block.bn3 if isinstance(block, Bottleneck) else block.bn2
            for block in self.modules()
            if isinstance(block, BasicBlock | Bottleneck)
        ]
        for norm in last_norms:
            nn.init.constant_(norm.weight, len(last_norms) ** -0.5)

    def _stage(self, index: int, x: Tensor) -> Tensor:
        if index == 0:
            return self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return getattr(self, f"layer{index}")(x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the stem (after max-pooling) and of layer1 to layer4.

        Args:
            x: (N, 3, H, W) float32, normalised.
        """
        outputs: list[Tensor] = []
        for index in range(5):
            keep_graph = torch.is_grad_enabled() and (self.detach_after == 0 or index > self.detach_after)
            with torch.set_grad_enabled(keep_graph):
                x = self._stage(index, x)
            outputs.append(x)
        return tuple(outputs)


def _check_choice(
    name: str, value: object, known: Mapping[int, object] | Mapping[str, object] | tuple
) -> None:
    if value not in known:
        raise InputError(
            f"StageResNet has no {name} {value!r}; use one of {', '.join(map(repr, known))} in the backbone."
        )


def _dilate(block: nn.Module, dilation: int) -> None:
    """Set the dilation of the 3x3 convolutions of a block (torchvision's basic block refuses it)."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.dilation = module.padding = (dilation, dilation)


def convert_torchvision(state: Mapping[str, Tensor]) -> Conversion:
    """Map a torchvision ResNet state dict onto `StageResNet`: the same names without the classifier.

    Raises:
        InputError: the depth cannot be told from the names.
    """
    depth = infer_depth(state)
    with torch.device("meta"):
        expected = StageResNet(depth).state_dict()
    # Files of torchvision before 0.3 lack the batch counters, which frozen norms do not use.
    counters = {name: torch.tensor(0) for name in expected if name.endswith("num_batches_tracked")}
    ours = {**counters, **{name: tensor for name, tensor in state.items() if name in expected}}
    dropped = {name: "the ImageNet classifier" for name in state if name in ("fc.weight", "fc.bias")}
    return Conversion(
        state=ours,
        dropped=dropped,
        unmapped=[name for name in state if name not in expected and name not in dropped],
        missing=[name for name in expected if name not in ours],
    )


def infer_depth(state: Mapping[str, object]) -> int:
    """Depth of the ResNet that a state dict with torchvision's names (any prefix) belongs to.

    Raises:
        InputError: no ResNet of a known depth has this many blocks in its third layer.
    """
    parts = [name.split(".") for name in state]
    blocks = {name[name.index("layer3") + 1] for name in parts if "layer3" in name[:-1]}
    has_bottlenecks = any("conv3" in name for name in parts)
    for depth, (block, counts) in BLOCKS.items():
        if counts[2] == len(blocks) and (block is Bottleneck) == has_bottlenecks:
            return depth
    raise InputError(
        f"The checkpoint holds {len(blocks)} blocks under 'layer3', which is no ResNet of depth "
        f"{', '.join(map(str, BLOCKS))}; check that the file and the layout belong together."
    )
