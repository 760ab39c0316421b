"""What an export came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """A file that was checked and written, and what was found.

    Args:
        file: where it lies.
        format: `onnx`, `torch` or `int8`.
        bytes: its size.
        opset: of ONNX; None for a torch program.
        card: the model card beside it.
        images: of the evaluation split that it was checked on.
        other_sizes: how many pictures of other sizes it was checked on besides.
        agreement: share of the images with the run's own class.
        difference: largest difference of a probability from the run's own, in float32.
        accuracy, run_accuracy: of the file and of the run's model in float32, in percent, from one view.
        images_per_s: of the file on this machine, in batches of images of the model's size.
        one_image_ms: of one such image.
        batch: images of a batch.
        fp32_images_per_s: for int8, of the float32 file, measured in turn with it; else None.
        threads: of the processor, for both.
    """

    file: str
    format: str
    bytes: int
    opset: int | None
    card: str
    images: int
    other_sizes: int
    agreement: float
    difference: float
    accuracy: float
    run_accuracy: float
    images_per_s: float
    one_image_ms: float
    batch: int
    fp32_images_per_s: float | None
    threads: int

    @property
    def parity(self) -> str:
        """In words: how the file answers beside the run."""
        found = f"{100 * self.agreement:.2f}% of {self.images:,} images have the run's class"
        if self.format == "int8":
            return (
                f"{found}; accuracy {self.accuracy:.2f}%, the run's in float32 {self.run_accuracy:.2f}%"
                f" ({self.accuracy - self.run_accuracy:+.2f})"
            )
        return (
            f"{found}, probabilities within {self.difference:.1g}, {self.other_sizes} pictures of other sizes"
            f" too; accuracy {self.accuracy:.2f}%"
        )

    @property
    def speed(self) -> str:
        """In words: how fast the file is here."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        beside = (
            f", {self.images_per_s / self.fp32_images_per_s:.2f} times the float32 file's"
            if self.fp32_images_per_s
            else ""
        )
        return (
            f"{self.images_per_s:,.0f} images/s in batches of {self.batch}{beside}; one image in"
            f" {self.one_image_ms:.1f} ms ({threads})"
        )
