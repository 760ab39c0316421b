from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import EfficientNetLite
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class Widths(Trick):
    """Choose the channels of the net's groups.

    Work grows with the square of a width and falls with the square of the stride, so late layers are where
    width is cheap: late-heavy nets reach the same accuracy with less work on large images.

    Args:
        channels: of the stem and layers (resnet9), stages (resnet18) or groups (airnet).
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)

    touches = ("net.widths",)
    source = "Page, How to Train Your ResNet 4 (2018); late-heavy: CIFAR-100 speedrun (AIDDA, 2026)"
    effect = "Page: twice as wide all over reaches 93.5% without residuals, but in 321 s"
    failures = "width alone is a slow way to accuracy"

    def __call__(self, plan: Plan) -> Plan:
        if isinstance(plan.net, EfficientNetLite):
            raise UserError("widths: this net's come with net.variant; set that")
        wanted = len(plan.net.widths)
        if len(self.channels) != wanted:
            raise UserError(f"widths: this net has {wanted} widths; give channels as many values")
        return replace(plan, net=replace(plan.net, widths=self.channels))  # type: ignore[arg-type]
