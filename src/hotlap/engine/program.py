"""A plan lowered onto a data set and a device: spans of static steps that can be run again and again.

Only this file compiles a step, and captures one (`capture.py`). Variation in time has two forms: values are
read from a [steps, columns] table on the device by a device-side step counter, and structure (which
parameters still learn, which averages are due, how large the images are) splits the run into spans. A step
of one structure is the same kernels on the same addresses every time, so on CUDA it is captured once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.data.device import DeviceSet
from hotlap.engine.balance import class_weights
from hotlap.engine.bind import averages_of, groups_of
from hotlap.engine.feed.device import DeviceFeed
from hotlap.engine.structure import Structure, spans_of
from hotlap.engine.views import all_logits
from hotlap.errors import UserError
from hotlap.machine.backend import Backend
from hotlap.machine.capture import captured
from hotlap.nets.build import build_net
from hotlap.nets.folding import folded_front
from hotlap.optim import EMA
from hotlap.optim.groups import Group, Phase, at_rest
from hotlap.plan import Plan
from hotlap.seeds import generator


class Program:
    """A plan ready to run on one data set and device.

    `hotlap.engine.lower` makes one.

    Args:
        plan: what to run, checked against the data set.
        dataset: its images are held on the device once `upload` has been called.
        backend: device and arithmetic.
        feed: where batches come from; it holds the training images, and knows which ranks run together.
        test_set: the images that accuracy is measured on.
        start: tensors of the net by name that a run starts with, in place of those drawn from its seed.

    Attributes:
        steps, steps_per_epoch: of the whole run, and of one epoch.
        columns: names of the table's columns, such as `lr[filters]`.
        table: (steps, columns), the values each step reads.
        losses, accuracies: (steps,), batch means recorded on the device.
        spans: the run, as stretches of one structure.

    Raises:
        UserError: if a role of the net has no rule, or an average would never be updated.
    """

    def __init__(
        self,
        plan: Plan,
        dataset: Dataset,
        backend: Backend,
        feed: DeviceFeed,
        test_set: DeviceSet,
        start: Mapping[str, Tensor] | None = None,
    ):
        self.plan, self.dataset, self.backend = plan, dataset, backend
        device, wide = backend.device, backend.weights_dtype
        self.seed = 0
        model = build_net(plan.net, dataset.spec)
        self.model = model.to(device, wide).to(memory_format=backend.format)  # type: ignore[call-overload]
        self.model.use_kernels(backend.kernels)
        self.train_set, self.test_set = feed.images, test_set
        self.feed, self.ranks = feed, feed.ranks
        self.start = {name: t.to(device, wide) for name, t in (start or {}).items()}
        self.class_weights = class_weights(plan.loss, dataset, device, wide)
        self.model.follow(feed.step_index)
        self.steps, self.steps_per_epoch = self.feed.steps, self.feed.steps_per_epoch
        self.losses = torch.zeros(self.steps, dtype=wide, device=device)
        self.accuracies = torch.zeros_like(self.losses)

        columns: dict[str, list[float]] = {}
        self.groups = groups_of(plan, self.model, self.steps, columns)
        self.averages = averages_of(plan, self.model, self.steps, columns)
        self.columns = tuple(columns)
        values = torch.tensor(list(columns.values()), dtype=wide, device=device)
        self.table = values.reshape(len(columns), self.steps).T.contiguous()
        self.spans = spans_of(plan, self.groups, self.averages, self.steps, self._phase)
        self._losses_of = torch.compile(self._forward) if backend.compile else self._forward
        self._launch: dict[Structure, Callable[[], None]] = {}
        self._views: dict[tuple[str, float], Callable[[], Tensor]] = {}

    def _phase(self, group: Group, step: int) -> Phase | None:
        return group.rule.optimizer.phase(step, self.steps) if step < group.end else None

    def compile(self) -> None:
        """Compile and capture every structure and the final evaluation on dummy data; call `upload` and
        `begin` afterwards.

        An eager step on a CPU needs neither; what its front is made of is built and measured, if it has one.
        """
        on_gpu = self.backend.device.type == "cuda"
        if on_gpu or self.backend.compile:
            self.feed.compile()
            self.rehearse(capture=on_gpu)
        else:
            self._hold()

    def rehearse(self, capture: bool) -> None:
        """Run a step of every structure, or capture each, and the final evaluation with them."""
        self.model.train()
        self.begin(seed=0)
        for structure in dict.fromkeys(span.structure for span in self.spans):
            self.feed.enter(0)
            if capture:
                step, again = partial(self._step, structure), partial(self.feed.enter, 0)
                self._launch[structure] = captured(step, self.backend.device, again)
            else:
                self._step(structure)
        if capture:
            views = self.plan.evaluation.tta, self.plan.evaluation.share
            self._views[views] = captured(partial(self._logits, *views), self.backend.device)

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
        self.losses.zero_()
        self.accuracies.zero_()
        self.feed.reset(seed)

    @torch.no_grad()
    def begin(self, seed: int) -> None:
        """`reset`, then set what is computed from the training images (whitening), take the tensors that the
        run starts with, and start the averages. All ranks start with what rank 0 has."""
        self.reset(seed)
        self.feed.begin(seed)
        wanted = min(self.model.calibration_images, len(self.train_set))
        if wanted:
            images = self.train_set.read(torch.arange(wanted, device=self.backend.device))
            self.model.calibrate(images.to(self.backend.weights_dtype))
        held = self.model.state_dict()
        for name, tensor in self.start.items():
            held[name].copy_(tensor)
        self.ranks.begin_alike(held)
        self._hold()
        for averaged in self.averages:
            torch._foreach_copy_(averaged.slow, averaged.fast)

    def _hold(self) -> None:
        """On a CPU, stages that are the same function throughout the run are put in its fastest form."""
        plan, eager = self.plan, self.backend.device.type == "cpu" and not self.backend.compile
        stages = len(list(takewhile(lambda share: share == 0, plan.freeze)))
        if stages and eager and plan.net.norm.statistics == "running":
            front = folded_front(self.model, stages, self.backend.dtype)
            self.model.front = front, len(front.parts)

    def segments(self, start: int, stride: int | None) -> Iterator[tuple[int, int]]:
        """Stretches of at most `stride` steps from `start` to the end that do not cross an epoch."""
        while start < self.steps:
            end_of_epoch = (start // self.steps_per_epoch + 1) * self.steps_per_epoch
            stop = min(self.steps, end_of_epoch, start + (stride or self.steps))
            yield start, stop
            start = stop

    def run(self, start: int, stop: int) -> None:
        """Run steps `start` to `stop`, all of one epoch. Asynchronous on CUDA."""
        self.feed.enter(start)
        self.model.train()
        for span in self.spans:
            launch = self._launch.get(span.structure) or partial(self._step, span.structure)
            for _ in range(max(start, span.start), min(stop, span.stop)):
                self.feed.push()
                launch()

    def agree(self) -> None:
        """Bring the statistics of the norms, which each rank keeps of its own share, to their mean. They are
        means themselves, as is what averages hold of them: it makes no difference when."""
        if self.ranks.count > 1:
            buffers = dict(self.model.named_buffers())
            slow = [dict(zip(self.averaged_names, a.slow, strict=True)) for a in self.averages]
            self.ranks.mean([tensors[name] for tensors in (buffers, *slow) for name in buffers])

    def finish(self) -> None:
        """After the last step: where the slow weights are the result, the model takes them."""
        for averaged in self.averages:
            if not isinstance(averaged.average, EMA):
                torch._foreach_copy_(averaged.fast, averaged.slow)

    def _forward(self, x: Tensor, target: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(x)
        smoothing = self.plan.loss.smoothing
        weights = self.class_weights
        losses = F.cross_entropy(logits, target, weights, reduction="none", label_smoothing=smoothing)
        return losses, logits.detach().argmax(1) == labels

    def _objective(self, losses: Tensor) -> Tensor:
        return losses.sum()

    def _step(self, structure: Structure) -> None:
        values = self.table.index_select(0, self.feed.step_index)[0]
        pairs = list(zip(self.groups, structure.phases, strict=True))
        learning = [(group, phase) for group, phase in pairs if phase is not None]
        weights = [w for group, _ in learning for w in group.weights]
        batch = self.feed.batch(structure.scale)
        with torch.set_grad_enabled(bool(weights)), at_rest([g for g, phase in pairs if phase is None]):
            losses, correct = self._losses_of(*batch)
            objective = self._objective(losses)
        grads = torch.autograd.grad(objective, weights) if weights else ()
        with torch.no_grad():
            losses, correct = losses.detach(), correct.to(losses.dtype)
            if self.ranks.count > 1:
                losses, correct = self.ranks.spread_out(losses), self.ranks.spread_out(correct)
                self.ranks.add([*grads, losses, correct])
            at = 0
            for group, phase in learning:
                stop = at + len(group.weights)
                group.step(list(grads[at:stop]), values, phase, self.backend.dtype, self.ranks)
                at = stop
            for averaged, on in zip(self.averages, structure.due, strict=True):
                if on:
                    averaged.step(values)
            self.losses.index_copy_(0, self.feed.step_index, losses.mean()[None])
            self.accuracies.index_copy_(0, self.feed.step_index, correct.mean()[None])
            self.feed.advance(losses)

    # what a checkpoint holds

    def state(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name; views, not copies. Of several ranks, the same on all
        of them after `agree`."""
        held = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for group in self.groups:
            held |= {f"velocity.{n}": v for n, v in zip(group.names, group.velocity, strict=True)}
        for i, averaged in enumerate(self.averages):
            held |= {f"average{i}.{n}": v for n, v in zip(self.averaged_names, averaged.slow, strict=True)}
        held |= {f"feed.{k}": v for k, v in self.feed.state().items()}
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
        self._hold()

    @property
    def averaged_names(self) -> list[str]:
        return [n for n, _ in (*self.model.named_parameters(), *self.model.named_buffers())]

    def evaluation_weights(self) -> dict[str, Tensor]:
        """The tensors the plan evaluates, by name: the model's own, or its moving average."""
        if self.plan.evaluation.weights == "ema":
            ema = next(a for a in self.averages if isinstance(a.average, EMA))
            return dict(zip(self.averaged_names, ema.slow, strict=True))
        return {k: v.detach() for k, v in self.model.state_dict().items()}

    def logits(self, tta: str, share: float) -> Tensor:
        """Logits (N, classes) of the test set by the tensors the plan evaluates; see `views.all_logits`."""
        self.agree()
        return self._views.get((tta, share), partial(self._logits, tta, share))()

    def _logits(self, tta: str, share: float) -> Tensor:
        return all_logits(self.model, self.evaluation_weights(), self.test_set, tta, share, self.ranks)

    def knobs_at(self, step: int) -> dict[str, float]:
        """The table's values at one step, by column."""
        return dict(zip(self.columns, self.table[step].tolist(), strict=True))
