"""The processes of one run, one a device: which one this is, and what they tell each other.

torchrun starts them and says in the environment who each of them is; `joined` answers for the whole life of
the process. All of them go through the same steps in the same order, so every method here that is called by
one is called by all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from hotlap.errors import RankLost, UserError
from hotlap.machine.processor import processors

T = TypeVar("T")
WAIT = timedelta(seconds=60)  # for the slowest, before a rank is taken for lost


@dataclass(frozen=True)
class Ranks:
    """Which process this is, of how many.

    Args:
        rank: from 0; 0 writes and speaks for all.
        count: of all processes.
        local: number of this one among those of its machine, which says what device it has.
        here: processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    here: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """This process's device where the run asks for `name`: of several CUDA devices one each.

        Raises:
            UserError: there are fewer than processes here.
        """
        if self.count == 1 or name not in ("auto", "cuda") or not torch.cuda.is_available():
            return name
        if self.here > torch.cuda.device_count():
            raise UserError(
                f"{self.here} processes here and {torch.cuda.device_count()} CUDA devices; start as many as"
                " there are devices, or give --device cpu"
            )
        return f"cuda:{self.local}"

    def threads(self, asked: int | None) -> int | None:
        """CPU threads of this process: those asked for, or its part of the processors."""
        return asked if asked or self.count == 1 else max(1, processors() // self.here)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over all ranks, in place: one message for all that are of a dtype."""
        if self.count == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for together in by_dtype.values():
            flat = torch.cat([as_it_lies(t).reshape(-1) for t in together])
            _tell(dist.all_reduce, flat)
            fill(together, flat)

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """As `add`, with the mean in place of the sum."""
        self.add(tensors)
        if self.count > 1:
            for tensor in tensors:
                tensor.div_(self.count)

    def gather(self, owned: Sequence[Sequence[Tensor]]) -> None:
        """Give all ranks what each has in its own of these tensors, in place; all are of one dtype.

        Args:
            owned: of each rank, its tensors.
        """
        if self.count == 1:
            return
        sizes = [[t.numel() for t in tensors] for tensors in owned]
        longest = max(map(sum, sizes))
        like = next(t for tensors in owned for t in tensors)
        flat = like.new_zeros(longest)  # every rank's message is as long
        at = 0
        for tensor, size in zip(owned[self.rank], sizes[self.rank], strict=True):
            flat[at : at + size].copy_(as_it_lies(tensor).reshape(-1))
            at += size
        whole = [torch.empty_like(flat) for _ in range(self.count)]
        _tell(dist.all_gather, whole, flat)
        for rank, tensors in enumerate(owned):
            if rank != self.rank:
                fill(tensors, whole[rank][: sum(sizes[rank])])

    def mine(self, index: Tensor) -> Tensor:
        """This rank's share of what is counted along the first dimension: every `count`th, from `rank` on."""
        return index[self.rank :: self.count]

    def spread_out(self, own: Tensor) -> Tensor:
        """(count * B,) with this rank's (B,) in its places and 0 in the others'."""
        whole = own.new_zeros(len(own) * self.count)
        whole[self.rank :: self.count] = own
        return whole

    def spread(self, of: Callable[[Tensor], Tensor], index: Tensor) -> Tensor:
        """`of(index)`, (N, ...) for index (N,), each rank doing its share of it."""
        if self.count == 1:
            return of(index)
        own = of(self.mine(index)) if len(index) > self.rank else None
        like = of(index[:1]) if own is None else own  # fewer than there are ranks
        whole = like.new_zeros((len(index), *like.shape[1:]))
        if own is not None:
            whole[self.rank :: self.count] = own
        self.add([whole])
        return whole

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether any rank has it set."""
        if self.count == 1:
            return flags
        counts = torch.tensor([float(flag) for flag in flags])
        _tell(dist.all_reduce, counts, group=_of_words())
        return tuple(bool(c > 0) for c in counts)

    def same(self, value: T) -> T:
        """Rank 0's value, on all of them."""
        if self.count == 1:
            return value
        box = [value]
        _tell(dist.broadcast_object_list, box, src=0, group=_of_words())
        return box[0]

    def begin_alike(self, tensors: Mapping[str, Tensor]) -> None:
        """Give all ranks what rank 0 has in these tensors."""
        if self.count > 1:
            for tensor in tensors.values():
                _tell(dist.broadcast, tensor, src=0)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Rank 0 goes through the block before the others start it: what it keeps, they find."""
        if self.count > 1 and not self.leads:
            _tell(dist.barrier, group=_of_words())
        try:
            yield
        finally:  # what stops rank 0 stops the others by themselves
            if self.count > 1 and self.leads:
                _tell(dist.barrier, group=_of_words())


def as_it_lies(tensor: Tensor) -> Tensor:
    """A view of a tensor whose order is that of its memory: nothing is moved about to lay it flat."""
    channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if channels_last else tensor


def fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    """Copy into each of the tensors its part of `flat`, in which they lie one after another."""
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        lying = as_it_lies(tensor)
        lying.copy_(part.view(lying.shape))


ALONE = Ranks()
_joined: Ranks | None = None
_words: dist.ProcessGroup | None = None  # what is no tensor of the run goes between processors


def _tell(message: Callable[..., object], *what: object, **how: object) -> None:
    """A message between all ranks.

    Raises:
        RankLost: one of them is not there any more.
    """
    try:
        message(*what, **how)
    except RuntimeError as error:  # what PyTorch says depends on who carries its messages
        raise RankLost(" ".join(str(error).split())[:200]) from error


def _of_words() -> dist.ProcessGroup | None:
    return _words


def joined() -> Ranks:
    """This process among those that torchrun started with it; alone if it was started by itself.

    Raises:
        UserError: torchrun's environment is there in part, or the others do not answer.
    """
    global _joined, _words
    if _joined is None:
        _joined = said(os.environ)
        if _joined.count > 1:
            cuda = torch.cuda.is_available()
            if cuda and _joined.here <= torch.cuda.device_count():
                torch.cuda.set_device(_joined.local)
            try:
                # both, where there is CUDA: a run may be told to stay on the processor
                dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=WAIT)
                _words = dist.new_group(backend="gloo", timeout=WAIT) if cuda else None
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"rank {_joined.rank} of {_joined.count}: the others do not answer"
                    f" ({' '.join(str(error).split())[:200]}); start all of them with torchrun"
                ) from None
    return _joined


def said(environment: Mapping[str, str]) -> Ranks:
    """What torchrun's variables say; alone where there are none.

    Raises:
        UserError: some are missing or no numbers.
    """
    if "WORLD_SIZE" not in environment and "RANK" not in environment:
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        rank, count, local, here = (int(environment[name]) for name in names)
    except KeyError as error:
        raise UserError(
            f"{error.args[0]} is not in the environment and others of torchrun's are; start with"
            " `torchrun --nproc-per-node N -m hotlap ...`, or unset RANK and WORLD_SIZE"
        ) from None
    except ValueError as error:
        raise UserError(f"torchrun's RANK, WORLD_SIZE, ...: {error}; start with torchrun") from None
    return Ranks(rank, count, local, here)


def leave() -> None:
    """Part from the others, at the end of the process."""
    global _joined, _words
    if _joined is not None and _joined.count > 1 and dist.is_initialized():
        dist.destroy_process_group()
    _joined = _words = None
