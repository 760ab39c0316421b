"""A run in several processes is the run of one whose norms split the batch as often; what is said if not."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ranked
from hotlap.engine.lower import check_ranks
from hotlap.errors import UserError
from hotlap.machine import ranks as module
from hotlap.machine.ranks import ALONE, Ranks, said
from hotlap.optim.muon import dealt

# sums of float64 in another order differ by 1e-16 of a value; twenty steps of a small net do not make more
# of it than this
CLOSE = 1e-8


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory) -> tuple[int, dict[str, list[dict[str, torch.Tensor]]]]:
    """Of so many ranks, what each of them came to, by plan."""
    count, folder = request.param, tmp_path_factory.mktemp("ranks")
    running = ranked.together(count, ranked.__file__, str(folder))
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    read = {
        name: [load_file(folder / f"{name}-{r}of{count}.safetensors") for r in range(count)]
        for name in ranked.PLANS
    }
    return count, read


@pytest.mark.parametrize("name", ranked.PLANS)
def test_ranks_come_to_what_one_process_comes_to(found, name):
    count, read = found
    alone = ranked.made(ranked.split_as(ranked.PLANS[name], count))
    ranked.trained(alone)
    want = ranked.outcome(alone)
    assert want["losses"].isfinite().all()
    for rank, have in enumerate(read[name]):
        assert have.keys() == want.keys()
        for key, tensor in want.items():
            far = (have[key] - tensor).abs().max().item()
            assert far < CLOSE, f"{key} of rank {rank}: {far}"


def test_they_do_not_come_to_it_by_doing_nothing(found):
    read = found[1]
    before = ranked.made(ranked.PLANS["muon"]).state()
    after = read["muon"][0]
    moved = [k for k in before if not torch.allclose(before[k], after[k])]
    assert {k.split(".")[0] for k in moved} >= {"model", "velocity", "losses"}


def test_the_norms_are_why_it_is_not_the_run_of_one_process_as_it_stands(found):
    """Else the comparison above would show nothing of how norms are split."""
    alone = ranked.made(ranked.PLANS["sgd"])
    ranked.trained(alone)
    want, have = ranked.outcome(alone), found[1]["sgd"][0]
    assert any(not torch.allclose(have[k], want[k], rtol=1e-4, atol=1e-5) for k in want if "conv" in k)


@pytest.mark.parametrize(
    ("batch", "splits", "count", "line"),
    [
        (500, 1, 3, "batch_size = 500 does not divide into 3 ranks; --set batch_size=501"),
        (8, 4, 4, "batch_size = 8 does not divide into 4 ranks of 4 norm splits each; --set batch_size=16"),
    ],
)
def test_batches_that_do_not_divide_are_said(batch, splits, count, line):
    plan = ranked.PLANS["sgd"]
    norm = replace(plan.net.norm, splits=splits)
    plan = replace(plan, batch_size=batch, net=replace(plan.net, norm=norm))
    check_ranks(plan, ALONE)
    with pytest.raises(UserError, match=f"^{line}$"):
        check_ranks(plan, Ranks(0, count))
    said_size = int(line.rsplit("=", 1)[1])
    check_ranks(replace(plan, batch_size=said_size), Ranks(0, count))


def test_what_torchrun_says():
    assert said({"HOME": "/"}) == ALONE
    full = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert said(full) == Ranks(5, 8, 1, 4)
    assert not said(full).leads
    with pytest.raises(
        UserError, match=r"^LOCAL_RANK is not in the environment and others of torchrun's are"
    ):
        said({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(UserError, match=r"invalid literal.*start with torchrun"):
        said(full | {"RANK": "first"})


def test_a_process_by_itself_sends_nothing(monkeypatch):
    for name in ("all_reduce", "all_gather", "broadcast", "barrier", "broadcast_object_list"):
        monkeypatch.setattr(module.dist, name, lambda *a, **k: pytest.fail("a message"))
    tensor = torch.arange(3.0)
    ALONE.add([tensor])
    ALONE.mean([tensor])
    ALONE.gather([[tensor]])
    ALONE.begin_alike({"a": tensor})
    with ALONE.in_turn():
        assert ALONE.any(True, False) == (True, False)
    assert ALONE.same("a") == "a"
    assert torch.equal(ALONE.spread(lambda i: 2 * i, torch.arange(4)), 2 * torch.arange(4))
    assert torch.equal(tensor, torch.arange(3.0))


def test_work_is_dealt_evenly_and_each_piece_once():
    costs = [9, 1, 7, 3, 3, 3, 1, 1]
    hands = dealt(costs, 3)
    assert sorted(i for hand in hands for i in hand) == list(range(8))
    assert max(sum(costs[i] for i in hand) for hand in hands) <= 10
    assert dealt([4], 3) == [[0], [], []]


# -- as a user starts it -------------------------------------------------------------------------

TINY = (
    *("train", "demo", "--data", "patterns:200,50", "--epochs", "2", "--set", "batch_size=50", "--set"),
    *("net.widths=[8,8,8]", "--set", "numerics.precision=fp32", "--set"),
    *("numerics.memory_format=channels_last", "--set", "numerics.compile=off"),
)


def test_devices_train_together_and_one_speaks(spawn, tmp_path):

    folder = tmp_path / "run"
    with spawn(*TINY, "--devices", "2", "--out", folder, "--json") as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["steps"] == 8
    assert err.count("epoch   train loss") == 1
    assert {p.name for p in folder.iterdir()} >= {"model.safetensors", "summary.json", "metrics.jsonl"}
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_bad_input_is_one_line_of_one_rank(spawn, tmp_path):
    with spawn(*TINY, "--devices", "2", "--set", "batch_size=51", "--out", tmp_path / "run") as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 2
    lines = [line for line in err.splitlines() if line.startswith("hotlap:")]  # the first use also packs
    assert lines == ["hotlap: batch_size = 51 does not divide into 2 ranks; --set batch_size=52"]


def test_a_lost_rank_stops_the_others_and_is_named(spawn, tmp_path):

    folder = tmp_path / "run"
    words = (*TINY, "--devices", "2", "--epochs", "400", "--checkpoint-every", "0", "--out", folder)
    with spawn(*words) as process:
        wait_for_a_state(process, folder)
        children = ranked_processes(process.pid)
        assert len(children) == 2
        os.kill(children[1], signal.SIGKILL)
        lost = time.monotonic()
        _, err = process.communicate(timeout=90)
    assert time.monotonic() - lost < 60
    assert process.returncode == 1
    assert "hotlap: rank 1 of 2 was lost (SIGKILL); the others were stopped" in err
    assert "internal error" not in err
    with spawn("train", "--resume", folder, "--epochs", "400") as process:
        assert process.wait(60) == 2  # the state is there, and this is not how one goes on with it


def wait_for_a_state(process, folder: Path) -> None:
    until = time.monotonic() + 120
    while not (folder / "state" / "state.safetensors").is_file():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)


def ranked_processes(parent: int) -> list[int]:
    """The processes that a launcher started, in the order of their ranks."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(status[1]) == parent:
                env = (entry / "environ").read_bytes().split(b"\0")
                rank = next(int(v[5:]) for v in env if v.startswith(b"RANK="))
                found[rank] = int(entry.name)
        except (OSError, ValueError, IndexError, StopIteration):
            continue
    return [found[r] for r in sorted(found)]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks' processes in /proc")
def test_terminated_together_they_save_and_go_on_in_another_number(spawn, tmp_path):

    folder = tmp_path / "run"
    words = (*TINY, "--devices", "2", "--epochs", "40", "--checkpoint-every", "0", "--out", folder)
    with spawn(*words) as process:
        wait_for_a_state(process, folder)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith(
        "hotlap: interrupted; state saved, go on with: hotlap train --resume"
    )
    with spawn("train", "--resume", folder) as process:  # alone
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert (folder / "summary.json").is_file()
