"""What the C allocator does with freed memory."""

from __future__ import annotations

import ctypes


def tune_allocator() -> str:
    """Let the C allocator keep freed memory instead of returning it to the kernel after every tensor.

    A training step frees and asks for the same few hundred megabytes hundreds of times; by default glibc
    maps each large block anew and every page faults on first touch, which costs more than the arithmetic
    in it. Returns what was done. Only for CPU runs; does nothing without glibc.
    """
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "default allocator (no mallopt in this C library)"
    done = mallopt(m_mmap_max, 0) and mallopt(m_trim_threshold, -1) and mallopt(m_top_pad, 64 << 20)
    return "freed memory is kept (mallopt)" if done else "default allocator (mallopt refused)"
