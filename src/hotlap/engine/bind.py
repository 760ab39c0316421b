"""A plan's rules and averages bound to the tensors of one net, their values as columns of a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hotlap.errors import UserError
from hotlap.nets.network import Network
from hotlap.optim import EMA, Muon
from hotlap.optim.groups import Averaged, Group, is_due
from hotlap.plan import Plan
from hotlap.plan.schedule import tabulate

Columns = dict[str, list[float]]  # by name, one value a step


def groups_of(plan: Plan, model: Network, steps: int, columns: Columns) -> list[Group]:
    """A group for each rule and each step at which part of its parameters freeze; adds their columns.

    Raises:
        UserError: a parameter that no rule claims, more stages frozen than there are, or Muon on no filter.
    """
    roles, weights = model.roles(), dict(model.named_parameters())
    claimed = {role: rule for rule in plan.rules for role in rule.roles}
    for name, role in roles.items():
        if role not in claimed:
            raise UserError(f"rules: no rule claims the role {role!r} of {name}; add it to one rule's roles")
    stages = model.stages()
    if len(plan.freeze) > len(stages):
        raise UserError(
            f"freeze = {list(plan.freeze)} on a net of {len(stages)} stages; leave the last ones out"
        )
    frozen = {n: s for stage, s in zip(stages, plan.freeze, strict=False) for n in stage}
    groups = []
    for rule in plan.rules:
        names = [name for name, role in roles.items() if claimed[role] is rule]
        if not names:
            continue
        if isinstance(rule.optimizer, Muon) and any(weights[n].ndim != 4 for n in names):
            raise UserError(
                f"rules.{rule.name}: muon steps convolution filters only; give it the role 'filter'"
            )
        lr_times, decay_times = rule.optimizer.quoting(plan.batch_size)
        at, shape = len(columns), plan.knob(rule.lr_knob, rule.name)
        columns[f"lr[{rule.name}]"] = [rule.lr * lr_times * v for v in tabulate(shape, steps)]
        columns[f"weight_decay[{rule.name}]"] = [rule.weight_decay * decay_times] * steps
        columns[f"momentum[{rule.name}]"] = [rule.momentum] * steps
        ends = {n: math.ceil(min(rule.until, frozen.get(n, 1.0)) * steps - 1e-9) for n in names}
        for end in sorted(set(ends.values()), reverse=True):
            together = [n for n in names if ends[n] == end]
            held: list[Tensor] = [weights[n] for n in together]
            groups.append(Group(rule, together, held, [torch.zeros_like(w) for w in held], at, end))
    return groups


def averages_of(plan: Plan, model: Network, steps: int, columns: Columns) -> list[Averaged]:
    """The plan's averages over all of the net's tensors; adds their columns.

    Raises:
        UserError: an average that would never be updated.
    """
    made = []
    for average in plan.after:
        if not any(is_due(average, step) for step in range(steps)):
            raise UserError(
                f"after: an average is updated every {average.every} steps, and the run has {steps}:"
                " it would never be; train longer, or --set its `every` lower"
            )
        at = len(columns)
        if isinstance(average, EMA):
            columns["decay[ema]"] = [average.decay**average.every] * steps
        else:
            columns["decay[lookahead]"] = tabulate(plan.knob(average.knob, "lookahead"), steps)
        fast = [t.detach() for t in (*model.parameters(), *model.buffers())]
        made.append(Averaged(average, [t.clone() for t in fast], fast, at))
    return made
