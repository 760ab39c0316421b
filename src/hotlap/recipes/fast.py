"""hotlap's own recipes: found by `benchmarks/search` on held-out images, then confirmed on the test set."""

from __future__ import annotations

from dataclasses import replace

from hotlap.recipe import Set
from hotlap.recipes.airbench import HIVERGE94, HIVERGE_MUON
from hotlap.tricks.fast_norm_statistics import FastNormStatistics
from hotlap.tricks.progressive_resolution import ProgressiveResolution

# Half the batch: on a CPU a large one buys nothing, and the norms' statistics are taken over as many images
# as before. A pixel of padding at the stem makes maps of 16, 8 and 4 pixels, and half of that at half
# resolution, which waste no part of a 4x4 tile of our convolutions.
FAST94 = HIVERGE94.then(
    "fast94",
    Set("batch_size", 768),
    replace(HIVERGE_MUON, lr=0.145),
    FastNormStatistics(0.2),
    ProgressiveResolution((0.3,), (0.5,)),
    Set("net.stem.padding", 1),
    summary="94% on a CPU: hiverge94 in smaller batches, the first stretch at half resolution",
    epochs=7.5,
)

RECIPES = (FAST94,)
