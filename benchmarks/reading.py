"""Ways to read a shifted and flipped batch from a uint8 set on a CPU, and which layout to keep it in.

python benchmarks/reading.py [--batch 2000]
"""

from __future__ import annotations

import argparse
import time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=2000)
    batch = parser.parse_args().batch

    import torch
    import torch.nn.functional as F

    from hotlap.data.augment import shift

    count, h, w, c = 50_000, 32, 32, 3
    nhwc = torch.randint(0, 256, (count, h, w, c), dtype=torch.uint8)
    nchw = nhwc.permute(0, 3, 1, 2).contiguous()
    index = torch.randperm(count)[:batch]
    down, right = (torch.randint(-2, 3, (batch,)) for _ in range(2))
    flips = torch.rand(batch) < 0.5
    rows, columns = (
        shift(torch.arange(h).expand(batch, h), down),
        shift(torch.arange(w).expand(batch, w), right),
    )
    columns = torch.where(flips[:, None], columns.flip(1), columns)

    def rows_then_columns_nhwc():
        lines = nhwc.view(count * h, w * c).index_select(0, (index[:, None] * h + rows).view(-1))
        at = (columns[:, :, None] * c + torch.arange(c)).view(batch, 1, w * c).expand(batch, h, w * c)
        return lines.view(batch, h, w * c).gather(2, at).view(batch, h, w, c).permute(0, 3, 1, 2)

    def rows_then_columns_nchw():
        line = (index[:, None, None] * c + torch.arange(c)[None, :, None]) * h + rows[:, None]
        lines = nchw.view(count * c * h, w).index_select(0, line.view(-1)).view(batch, c, h, w)
        return lines.gather(3, columns[:, None, None].expand(batch, c, h, w))

    def one_index_nhwc():
        return nhwc[index[:, None, None], rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)

    def flat_pixels_nhwc():
        at = (index[:, None, None] * h + rows[:, :, None]) * w + columns[:, None]
        return nhwc.view(-1, c).index_select(0, at.view(-1)).view(batch, h, w, c).permute(0, 3, 1, 2)

    def masks_over_shifts():
        images = nchw[index].float()
        padded, out = F.pad(images, (2,) * 4, mode="reflect"), torch.empty_like(images)
        for y in range(5):
            for x in range(5):
                mask = (down + 2 == y) & (right + 2 == x)
                out[mask] = padded[mask, :, y : y + h, x : x + w]
        return torch.where(flips[:, None, None, None], out.flip(-1), out).byte()

    ways = (
        rows_then_columns_nhwc,
        rows_then_columns_nchw,
        one_index_nhwc,
        flat_pixels_nhwc,
        masks_over_shifts,
    )
    want = one_index_nhwc()
    print(f"{batch} images, {torch.get_num_threads()} threads, best of 9 in milliseconds")
    for way in ways:
        assert torch.equal(way(), want), way.__name__
        times = []
        for _ in range(9):
            start = time.perf_counter()
            way()
            times.append(1e3 * (time.perf_counter() - start))
        print(f"  {way.__name__:<24}{min(times):7.1f}")


if __name__ == "__main__":
    main()
