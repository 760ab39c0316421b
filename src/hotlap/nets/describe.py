"""Frozen descriptions of the networks. Data only, no torch here: `nets.build` makes modules of them.

Every parameter a description builds has a *role*, which is what optimizer rules are written against:

==========================  =====================================================================
role                        what
==========================  =====================================================================
`filter`                    weights of convolutions, (out, in, kh, kw), or (out, 1, kh, kw) of
                            channels by themselves
`norm_weight`, `norm_bias`  per-channel scale and shift of a norm, (channels,)
`stem_bias`                 bias of a fixed whitening stem, (filters,)
`head_weight`, `head_bias`  the classifier, (classes, features) and (classes,)
==========================  =====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hotlap.errors import UserError, did_you_mean
from hotlap.spec import DataSpec

Activation = Literal["relu", "gelu", "silu", "celu"]
Role = Literal["filter", "norm_weight", "norm_bias", "stem_bias", "head_weight", "head_bias"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Norm:
    """Batch normalisation.

    Args:
        scale: whether the per-channel scale is learned; if not, it stays where it starts.
        scale_init: where scales start: at 1, or drawn from 0 to 1 as PyTorch did before version 1.
        statistics: what activations are normalised with in training: those of the `batch`, or the `running`
            ones that the net starts with, as in use. From scratch there are none to start with.
        momentum: the share of the newest batch in the running statistics (PyTorch's convention).
        eps: added to the variance.
        splits: ghost batch norm: statistics over this many parts of the batch apart. 1 is plain batch norm.
        grouping: how the parts are taken: `strided` puts example i in part i mod splits (Page's), and
            `contiguous` takes neighbouring examples.
        precision: dtype of scales, shifts and statistics: float32 (float64 under fp64), or `half`, that of
            the activations, as a net turned to half precision as a whole has it.
    """

    scale: bool = True
    scale_init: Literal["one", "uniform"] = "one"
    statistics: Literal["batch", "running"] = "batch"
    momentum: float = 0.1
    eps: float = 1e-5
    splits: int = 1
    grouping: Literal["strided", "contiguous"] = "strided"
    precision: Literal["fp32", "half"] = "fp32"


Padding = Literal[0, 1, 2, 3, "same"]


@dataclass(frozen=True)
class ConvStem:
    """A learned 3x3 convolution, norm and activation."""


@dataclass(frozen=True)
class WhitenStem:
    """A fixed convolution whose filters whiten the patches of the training images.

    Args:
        kernel: patch size, pixels.
        signs: 1 keeps each eigenvector once (Page), 2 with both signs (hlb-CIFAR10 and later).
        bias: whether a bias is learned.
        eps: added to the eigenvalues before the inverse root; images are in units of their own sd.
        images: how many training images the covariance is taken from.
        padding: zero padding, pixels on each side; or `same`, as much as leaves maps of the images' size, the
            odd pixel behind.
        pointwise: whether a learned 1x1 convolution and norm come before the first activation (Page).
    """

    kernel: int = 2
    signs: Literal[1, 2] = 2
    bias: bool = True
    eps: float = 5e-4
    images: int = 5000
    padding: Padding = 0
    pointwise: bool = False

    @property
    def border(self) -> tuple[int, int]:
        """Pixels of padding before and behind each dimension."""
        if self.padding == "same":
            return (self.kernel - 1) // 2, self.kernel // 2
        return self.padding, self.padding


Stem = ConvStem | WhitenStem


@dataclass(frozen=True)
class AirNet:
    """The VGG-like net of the airbench lineage: a whitened stem and three groups of convolutions.

    A group is conv, 2x2 max pool, norm, activation, then `depth - 1` times conv, norm, activation; the
    head is a global pool and a linear layer. Source: cifar10-airbench (Jordan, 2024), after
    hlb-CIFAR10 (Balsam, 2023); middle widths and kernels: CIFAR-100 speedrun (AIDDA, 2026).

    Args:
        widths: channels of the groups.
        depth: convolutions a group.
        residual: whether what leaves a group's first activation is added again at the group's end: not, or
            before the last activation, or after it.
        middle: channels between a group's second and last convolution; none are the group's width.
        kernels: sizes of all convolutions, group after group, pixels; none are 3.
        pool: what the head reads of each channel: its largest value, or that plus its mean.
        activation: after every norm.
        celu_alpha: only CELU reads it.
        norm: every norm in the net.
        stem: the first layer.
        stem_activation: after the stem, if another than the rest of the net's.
        stem_bias_init: where the bias of a whitening stem starts: drawn as PyTorch would, or at 0.
        init: `dirac` starts the first in_channels filters of each convolution as the identity.
        unit_head: whether the head's weights start with standard deviation 1.
        logit_scale: multiplies the logits.
    """

    widths: tuple[int, ...] = (64, 256, 256)
    depth: int = 2
    residual: Literal["none", "before_act", "after_act"] = "none"
    middle: tuple[int, ...] = ()
    kernels: tuple[int, ...] = ()
    pool: Literal["max", "max_plus_mean"] = "max"
    activation: Activation = "gelu"
    celu_alpha: float = 1.0
    norm: Norm = Norm(scale=False, momentum=0.4, eps=1e-12)
    stem: Stem = WhitenStem()
    stem_activation: Literal["same", Activation] = "same"
    stem_bias_init: Literal["uniform", "zero"] = "uniform"
    init: Literal["default", "dirac"] = "dirac"
    unit_head: bool = False
    logit_scale: float = 1 / 9


@dataclass(frozen=True)
class ResNet9:
    """Page's nine-layer net: a stem, three pooled layers of which some carry a residual, a linear head.

    Source: "How to Train Your ResNet", post 4 and onwards (Page, 2018).

    Args:
        widths: channels of the stem and of layers 1, 2, 3.
        residual: which of `layer1`, `layer2`, `layer3` end in a two-convolution residual.
        extra: which layers have one more convolution, norm and activation after the first.
        down: how a layer halves the image: a 2x2 max pool, or the stride of a 3x3 or 1x1 convolution.
        pool: where a layer's 2x2 max pool stands: after the activation, before it, or before the norm.
        norm_repeats: how many pairs of norm and activation follow the stem and each layer's convolution.
        head: what the classifier reads: each channel's largest value, or that and its mean side by side.
        head_bias: whether the classifier has a bias.
        activation, celu_alpha, norm, stem, logit_scale: as in `AirNet`.
    """

    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    residual: tuple[str, ...] = ("layer1", "layer3")
    extra: tuple[str, ...] = ()
    down: Literal["pool", "stride_3x3", "stride_1x1"] = "pool"
    pool: Literal["after_act", "before_act", "before_norm"] = "after_act"
    norm_repeats: tuple[int, int, int, int] = (1, 1, 1, 1)
    head: Literal["max", "max_and_mean"] = "max"
    head_bias: bool = False
    activation: Activation = "relu"
    celu_alpha: float = 1.0
    norm: Norm = Norm()
    stem: Stem = ConvStem()
    logit_scale: float = 0.125


@dataclass(frozen=True)
class ResNet18:
    """The pre-activation ResNet-18 of the DAWNBench entry that the series starts from.

    Four stages of two blocks; a block's first norm and ReLU feed both its branch and its shortcut; the
    classifier reads the global max and the global mean side by side. Source: Ben Johnson's DAWNBench
    entry (2018), as described in post 1.

    Args:
        widths: channels of the four stages.
        stem_norm: whether a norm and ReLU follow the first convolution, doubling those of the first block.
        norm: every norm in the net.
        logit_scale: multiplies the logits.
    """

    widths: tuple[int, int, int, int] = (64, 128, 256, 256)
    stem_norm: bool = True
    norm: Norm = Norm()
    logit_scale: float = 1.0


@dataclass(frozen=True)
class Published:
    """What is published of one EfficientNet-Lite.

    Args:
        width, depth: by what the channels and the blocks of a stage are multiplied.
        size: side of the images it was made for, pixels.
        dropout: share of the features that its training on ImageNet left out.
    """

    width: float
    depth: float
    size: int
    dropout: float


LITES = {
    "lite0": Published(1.0, 1.0, 224, 0.2),
    "lite1": Published(1.0, 1.1, 240, 0.2),
    "lite2": Published(1.1, 1.2, 260, 0.3),
}


@dataclass(frozen=True)
class EfficientNetLite:
    """The small EfficientNets without squeeze-and-excitation, for photographs.

    A convolution of stride 2, seven stages of inverted residual blocks, a pointwise convolution to 1,280
    channels, the global mean, a linear head. A block widens by a pointwise convolution, convolves each
    channel by itself and narrows again, and adds what it read where shapes allow. Every activation is ReLU6.
    Strided convolutions are padded as TensorFlow's `SAME` does, which the published ImageNet weights want.

    Source: EfficientNet (Tan & Le, 2019); EfficientNet-Lite (Liu, TensorFlow, 2020).

    Args:
        variant: how wide and deep; `LITES` says for what size of images.
        dropout: share of the head's features that a training step leaves out.
        norm: every norm in the net.
        logit_scale: multiplies the logits.
    """

    variant: Literal["lite0", "lite1", "lite2"] = "lite0"
    dropout: float = 0.0
    norm: Norm = Norm(momentum=0.01, eps=1e-3)
    logit_scale: float = 1.0


Net = AirNet | ResNet9 | ResNet18 | EfficientNetLite


def check_net(net: Net, spec: DataSpec, sizes_from: str = "", name: str = "net") -> None:
    """Whether a net can be built for such images.

    Args:
        sizes_from: the key that made the images small, if one did.
        name: the key of the net itself.

    Raises:
        UserError: naming the first value that is out of range.
    """
    norm, smallest = net.norm, min(spec.height, spec.width)
    numbers: dict[str, float] = {"norm.splits": norm.splits}
    shrinks = 0
    if isinstance(net, AirNet):
        numbers |= {"depth": net.depth} | {f"middle[{i}]": w for i, w in enumerate(net.middle)}
        numbers |= {f"kernels[{i}]": k for i, k in enumerate(net.kernels)}
        shrinks, convolutions = len(net.widths), len(net.widths) * net.depth
        if len(net.middle) not in (0, len(net.widths)) or len(net.kernels) not in (0, convolutions):
            raise UserError(
                f"{name}.middle has {len(net.middle)} values and {name}.kernels {len(net.kernels)};"
                f" give none, or {len(net.widths)} (one a group) and {convolutions} (one a convolution)"
            )
        if net.residual != "none" and net.depth < 2:
            raise UserError(
                f"{name}.residual = {net.residual!r} with {name}.depth = {net.depth};"
                " give a depth of 2 or more"
            )
    elif isinstance(net, ResNet9):
        numbers |= {f"norm_repeats[{i}]": n for i, n in enumerate(net.norm_repeats)}
        shrinks = 3 if net.down == "pool" else 0
        for key, layers in (("residual", net.residual), ("extra", net.extra)):
            known = ("layer1", "layer2", "layer3")
            for wrong in [layer for layer in layers if layer not in known]:
                near = did_you_mean(wrong, known)
                raise UserError(f"{name}.{key}: no layer {wrong!r}{near}")
    elif isinstance(net, EfficientNetLite) and not 0 <= net.dropout < 1:
        raise UserError(f"{name}.dropout = {net.dropout:g}; give a share from 0 to below 1")
    if isinstance(net, AirNet | ResNet9) and isinstance(net.stem, WhitenStem):
        stem = net.stem
        numbers |= {"stem.kernel": stem.kernel, "stem.images": stem.images}
        smallest += sum(stem.border) - stem.kernel + 1
    if not isinstance(net, EfficientNetLite) and (not net.widths or min(net.widths) < 1):
        raise UserError(f"{name}.widths = {list(net.widths)}; give one or more whole numbers, each 1 or more")
    for key, value in numbers.items():
        if value < 1:
            raise UserError(f"{name}.{key} = {value}; give 1 or more")
    if not norm.eps >= 0 or not 0 <= norm.momentum <= 1:
        raise UserError(
            f"{name}.norm.eps = {norm.eps:g}, {name}.norm.momentum = {norm.momentum:g};"
            " give an eps of 0 or more and a momentum from 0 to 1"
        )
    if smallest >> shrinks < 1:
        where = f"; raise {sizes_from}" if sizes_from else "; use larger images or fewer groups"
        raise UserError(
            f"images of {spec.height}x{spec.width} are too small for this net's stem ({name}.stem.kernel) and"
            f" {shrinks} poolings ({name}.widths){where}"
        )
