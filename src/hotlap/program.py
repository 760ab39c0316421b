"""A plan lowered onto a data set and a device: spans of static steps that can be run again and again.

This is the only file that names torch.compile or a CUDA graph. Variation in time has two forms: values
are read from a [steps, columns] table on the device by a device-side step counter, and structure (which
parameters still learn, which averages are due) splits the run into spans. A step of one structure is the
same kernels on the same addresses every time, so on CUDA it is captured once and replayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.data.device import DeviceSet
from hotlap.errors import UserError
from hotlap.machine import Engine
from hotlap.optim import EMA, Muon
from hotlap.optim.groups import Averaged, Group
from hotlap.plan import Plan
from hotlap.schedule import tabulate
from hotlap.seeds import generator

Structure = tuple[tuple[bool, ...], tuple[bool, ...]]  # rules that still learn; averages that are due


@dataclass(frozen=True)
class Span:
    """Steps `start` to `stop` (exclusive), all of one structure."""

    start: int
    stop: int
    structure: Structure


class Program:
    """A plan ready to run on one data set and device.

    Args:
        plan: what to run.
        dataset: its images are held on the device once `upload` has been called.
        engine: device and arithmetic.

    Attributes:
        steps, steps_per_epoch: of the whole run, and of one epoch.
        columns: names of the table's columns, such as `lr[filters]`.
        table: (steps, columns), the values each step reads.
        losses, accuracies: (steps,), batch means recorded on the device.
        spans: the run, as stretches of one structure.

    Raises:
        UserError: if the plan cannot run on such data, or a role of the net has no rule.
    """

    def __init__(self, plan: Plan, dataset: Dataset, engine: Engine):
        plan.check(dataset.spec)
        self.plan, self.dataset, self.engine = plan, dataset, engine
        device, wide = engine.device, engine.weights_dtype
        self.seed = 0
        self.steps_per_epoch = dataset.spec.train_count // plan.batch_size
        self.steps = max(1, math.ceil(plan.epochs * self.steps_per_epoch - 1e-9))
        model = plan.net.build(dataset.spec)
        self.model = model.to(device, wide).to(memory_format=engine.format)  # type: ignore[call-overload]
        place = partial(DeviceSet, spec=dataset.spec, engine=engine)
        self.train_set, self.test_set = place(dataset.train), place(dataset.test)

        count = dataset.spec.train_count
        zeros = partial(torch.zeros, dtype=torch.int64, device=device)
        self.order, self.choices = zeros(count), [zeros(count) for _ in plan.augment]
        self.step_index, self.cursor = zeros(1), zeros(1)  # of the run, of the epoch
        self.offsets = torch.arange(plan.batch_size, device=device)
        self.losses = torch.zeros(self.steps, dtype=wide, device=device)
        self.accuracies = torch.zeros_like(self.losses)

        columns: dict[str, list[float]] = {}
        self.groups = self._groups(columns)
        self.averages = self._averages(columns)
        self.columns = tuple(columns)
        values = torch.tensor(list(columns.values()), dtype=wide, device=device)
        self.table = values.reshape(len(columns), self.steps).T.contiguous()
        self.spans = self._spans()
        self._drawn: tuple[int, int] | None = None  # the (seed, epoch) whose draws the buffers hold
        self._losses_of = torch.compile(self._forward) if engine.compile else self._forward
        self._launch: dict[Structure, Callable[[], None]] = {}

    # what is lowered, once

    def _groups(self, columns: dict[str, list[float]]) -> list[Group]:
        roles, weights = self.model.roles(), dict(self.model.named_parameters())
        claimed = {role: rule for rule in self.plan.rules for role in rule.roles}
        for name, role in roles.items():
            if role not in claimed:
                raise UserError(
                    f"rules: no rule claims the role {role!r} of {name}; add it to one rule's roles"
                )
        groups = []
        for rule in self.plan.rules:
            names = [name for name, role in roles.items() if claimed[role] is rule]
            if not names:
                continue
            if isinstance(rule.optimizer, Muon) and any(weights[n].ndim != 4 for n in names):
                raise UserError(
                    f"rules.{rule.name}: muon steps convolution filters only; give it the role 'filter'"
                )
            mean = not isinstance(rule.optimizer, Muon) and rule.optimizer.quoted_for == "mean"
            batch = self.plan.batch_size if mean else 1
            at, shape = len(columns), self.plan.knob(rule.lr_knob, rule.name)
            columns[f"lr[{rule.name}]"] = [rule.lr / batch * v for v in tabulate(shape, self.steps)]
            columns[f"weight_decay[{rule.name}]"] = [rule.weight_decay * batch] * self.steps
            columns[f"momentum[{rule.name}]"] = [rule.momentum] * self.steps
            held = [weights[n] for n in names]
            groups.append(Group(rule, names, held, [torch.zeros_like(w) for w in held], at))
        return groups

    def _averages(self, columns: dict[str, list[float]]) -> list[Averaged]:
        made = []
        for average in self.plan.after:
            if not any(
                (step + 1) % average.every == average.phase % average.every for step in range(self.steps)
            ):
                raise UserError(
                    f"after: an average is updated every {average.every} steps, and the run has {self.steps}:"
                    " it would never be; train longer, or --set its `every` lower"
                )
            at = len(columns)
            if isinstance(average, EMA):
                columns["decay[ema]"] = [average.decay**average.every] * self.steps
            else:
                columns["decay[lookahead]"] = tabulate(self.plan.knob(average.knob, "lookahead"), self.steps)
            fast = [t.detach() for t in (*self.model.parameters(), *self.model.buffers())]
            made.append(Averaged(average, [t.clone() for t in fast], fast, at))
        return made

    def _spans(self) -> list[Span]:
        ends = [math.ceil(g.rule.until * self.steps - 1e-9) for g in self.groups]

        def structure(step: int) -> Structure:
            averages = [a.average for a in self.averages]
            due = tuple((step + 1) % a.every == a.phase % a.every for a in averages)
            return tuple(step < end for end in ends), due

        spans = []
        for made, steps in groupby(range(self.steps), key=structure):
            run = list(steps)
            spans.append(Span(run[0], run[-1] + 1, made))
        return spans

    def compile(self) -> None:
        """Compile and capture every structure on dummy data; call `upload` and `begin` afterwards.

        Does nothing for an eager step on a CPU, which needs neither.
        """
        if self.engine.device.type != "cuda" and not self.engine.compile:
            return
        self.model.train()
        self.begin(seed=0)
        self._draw(0)
        for structure in sorted({span.structure for span in self.spans}, reverse=True):
            self.step_index.zero_()
            self.cursor.zero_()
            if self.engine.device.type == "cuda":
                self._launch[structure] = self._capture(structure)
            else:
                self._step(structure)
        self._drawn = None

    def _capture(self, structure: Structure) -> Callable[[], None]:
        side = torch.cuda.Stream(self.engine.device)
        side.wait_stream(torch.cuda.current_stream(self.engine.device))
        with torch.cuda.stream(side):  # lazy initialisation must not fall into the capture
            for _ in range(3):
                self._step(structure)
                self.step_index.zero_()
                self.cursor.zero_()
        torch.cuda.current_stream(self.engine.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(structure)
        return graph.replay

    def upload(self) -> None:
        """Bring the images to the device, in place of the dummy data."""
        self.train_set.fill(self.dataset.train)
        self.test_set.fill(self.dataset.test)

    # a run

    def reset(self, seed: int) -> None:
        """Back to before the first step of the run with this seed, compiled programs kept."""
        self.seed = seed
        self.model.reset(generator(seed, "init"))
        for group in self.groups:
            torch._foreach_zero_(group.velocity)
        for counter in (self.step_index, self.cursor, self.losses, self.accuracies):
            counter.zero_()
        self._drawn = None

    @torch.no_grad()
    def begin(self, seed: int) -> None:
        """`reset`, then set what is computed from the training images (whitening) and start the averages."""
        self.reset(seed)
        wanted = min(self.model.calibration_images, len(self.train_set))
        if wanted:
            images = self.train_set.read(torch.arange(wanted, device=self.engine.device))
            self.model.calibrate(images.to(self.engine.weights_dtype))
        for averaged in self.averages:
            torch._foreach_copy_(averaged.slow, averaged.fast)

    def segments(self, start: int, stride: int | None) -> Iterator[tuple[int, int]]:
        """Stretches of at most `stride` steps from `start` to the end that do not cross an epoch."""
        while start < self.steps:
            end_of_epoch = (start // self.steps_per_epoch + 1) * self.steps_per_epoch
            stop = min(self.steps, end_of_epoch, start + (stride or self.steps))
            yield start, stop
            start = stop

    def run(self, start: int, stop: int) -> None:
        """Run steps `start` to `stop`, all of one epoch. Asynchronous on CUDA."""
        epoch, within = divmod(start, self.steps_per_epoch)
        if self._drawn != (self.seed, epoch):
            self._draw(epoch)
        self.step_index.fill_(start)
        self.cursor.fill_(within)
        self.model.train()
        for span in self.spans:
            launch = self._launch.get(span.structure) or partial(self._step, span.structure)
            for _ in range(max(start, span.start), min(stop, span.stop)):
                launch()

    def finish(self) -> None:
        """After the last step: where the slow weights are the result, the model takes them."""
        for averaged in self.averages:
            if not isinstance(averaged.average, EMA):
                torch._foreach_copy_(averaged.fast, averaged.slow)

    def _draw(self, epoch: int) -> None:
        """The epoch's order and augmentation choices, in bulk, into the buffers the step reads."""
        device, count = self.engine.device, len(self.order)
        order = generator(self.seed, "order", epoch, device=device)
        self.order.copy_(torch.randperm(count, generator=order, device=device))
        for i, (op, choice) in enumerate(zip(self.plan.augment, self.choices, strict=True)):
            streams = partial(generator, self.seed, "augment", i, device=device)
            choice.copy_(op.draw(count, epoch, streams, device))
        self._drawn = (self.seed, epoch)

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next batch: augmented images (B, C, H, W) and labels (B,)."""
        index = self.order.index_select(0, self.cursor * self.plan.batch_size + self.offsets)
        maps = None
        if self.plan.augment:
            _, height, width = self.dataset.spec.shape
            rows, columns = (self._positions(n, len(index)) for n in (height, width))
            for op, choice in zip(self.plan.augment, self.choices, strict=True):
                rows, columns = op.edit(choice.index_select(0, index), rows, columns)
            maps = rows, columns
        return self.train_set.read(index, maps), self.train_set.labels.index_select(0, index)

    def _positions(self, side: int, count: int) -> Tensor:
        return torch.arange(side, device=self.engine.device).expand(count, side)

    def _forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(x)
        return F.cross_entropy(
            logits, y, reduction="none", label_smoothing=self.plan.loss.smoothing
        ), logits.detach().argmax(1) == y

    def _step(self, structure: Structure) -> None:
        learns, due = structure
        values = self.table.index_select(0, self.step_index)[0]
        losses, correct = self._losses_of(*self.batch())
        groups = [group for group, on in zip(self.groups, learns, strict=True) if on]
        grads = torch.autograd.grad(losses.sum(), [w for group in groups for w in group.weights])
        with torch.no_grad():
            at = 0
            for group in groups:
                stop = at + len(group.weights)
                group.step(list(grads[at:stop]), values, self.engine.dtype)
                at = stop
            for averaged, on in zip(self.averages, due, strict=True):
                if on:
                    averaged.step(values)
            self.losses.index_copy_(0, self.step_index, losses.detach().mean()[None])
            self.accuracies.index_copy_(0, self.step_index, correct.to(self.accuracies.dtype).mean()[None])
            self.step_index.add_(1)
            self.cursor.add_(1)

    # what a checkpoint holds

    def state(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name; views, not copies."""
        held = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for group in self.groups:
            held |= {f"velocity.{n}": v for n, v in zip(group.names, group.velocity, strict=True)}
        for i, averaged in enumerate(self.averages):
            held |= {f"average{i}.{n}": v for n, v in zip(self.averaged_names, averaged.slow, strict=True)}
        return held | {"losses": self.losses, "accuracies": self.accuracies}

    def load_state(self, state: dict[str, Tensor], seed: int) -> None:
        """Copy a state in; the next `run` goes on from it.

        Raises:
            UserError: if names or shapes are not this program's.
        """
        own = self.state()
        if own.keys() != state.keys() or any(own[k].shape != state[k].shape for k in own):
            raise UserError("the saved state is of another recipe or data set; resume it with the run's own")
        self.reset(seed)
        for name, tensor in own.items():
            tensor.copy_(state[name])

    @property
    def averaged_names(self) -> list[str]:
        return [n for n, _ in (*self.model.named_parameters(), *self.model.named_buffers())]

    def evaluation_weights(self) -> dict[str, Tensor]:
        """The tensors the plan evaluates, by name: the model's own, or its moving average."""
        if self.plan.evaluation.weights == "ema":
            ema = next(a for a in self.averages if isinstance(a.average, EMA))
            return dict(zip(self.averaged_names, ema.slow, strict=True))
        return {k: v.detach() for k, v in self.model.state_dict().items()}

    def knobs_at(self, step: int) -> dict[str, float]:
        """The table's values at one step, by column."""
        return dict(zip(self.columns, self.table[step].tolist(), strict=True))
