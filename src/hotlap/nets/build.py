"""From a description to its module."""

from __future__ import annotations

from hotlap.nets import airnet, efficientnet, resnet9, resnet18
from hotlap.nets.describe import AirNet, EfficientNetLite, Net, ResNet9
from hotlap.nets.network import Network
from hotlap.spec import DataSpec


def build_net(net: Net, spec: DataSpec) -> Network:
    """An uninitialised module for images like `spec`'s; call its `reset` before use."""
    if isinstance(net, AirNet):
        return airnet.build(net, spec)
    if isinstance(net, ResNet9):
        return resnet9.build(net, spec)
    if isinstance(net, EfficientNetLite):
        return efficientnet.build(net, spec)
    return resnet18.build(net, spec)
