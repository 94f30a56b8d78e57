"""On a CUDA device: the CPU's numbers and verdict, the model and every random state left as found.

`python -m pytest -m cuda` runs these; without a device they are skipped.
"""

import copy
import gc
import random
from collections.abc import Mapping

import pytest

torch = pytest.importorskip("torch")

from planted import FAST, FAULTY  # noqa: E402
from planted_run import alarms  # noqa: E402
from test_zoo import BY_HAND, SMALL  # noqa: E402
from torch import nn  # noqa: E402
from zoo_hand_transformers import gpt  # noqa: E402

from initprobe.errors import ConfigError  # noqa: E402
from initprobe.results.base import TENSORS  # noqa: E402
from initprobe.torch import probe  # noqa: E402

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
STATISTICS = ("mean", "variance", "rms", "min", "max")
MEGABYTE = 1 << 20
# What draws on the device itself, so that its numbers cannot be those of the CPU.
OWN_DRAWS = {"VAE"}


@pytest.fixture(autouse=True)
def exact():
    """No product in the 10 bits of TF32."""
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held


def moved(x, device="cuda", dtype=None):
    """The same nest on a device, real numbers in a dtype."""
    if isinstance(x, Mapping):
        return {name: moved(entry, device, dtype) for name, entry in x.items()}
    if isinstance(x, tuple | list):
        return type(x)(moved(entry, device, dtype) for entry in x)
    return x.to(device, dtype if x.is_floating_point() else None)


def both(make, dtype=None, **options):
    """The results of one model on the CPU and on the device."""
    torch.manual_seed(0)
    model, x = make()
    model = model.to(dtype)
    here = probe(model, moved(x, "cpu", dtype), **options)
    return here, probe(copy.deepcopy(model).cuda(), moved(x, "cuda", dtype), **options)


def assert_same(here, there, rel):
    assert [layer.name for layer in here.layers] == [layer.name for layer in there.layers]
    for mine, yours in zip(here.layers, there.layers, strict=True):
        for tensor in TENSORS:
            a, b = mine.tensor(tensor), yours.tensor(tensor)
            assert (a is None) == (b is None)
            for name in STATISTICS if a is not None and a.rms else ():
                assert getattr(b, name) == pytest.approx(getattr(a, name), rel=rel, abs=rel * a.rms), (
                    mine.name,
                    tensor,
                    name,
                )


def entry(name):
    return lambda: (BY_HAND[name].make(), BY_HAND[name].given())


@pytest.mark.parametrize("name", [name for name in SMALL if name not in OWN_DRAWS])
def test_numbers_are_those_of_the_cpu(name):
    here, there = both(entry(name), torch.float64)
    assert_same(here, there, 1e-5)
    assert [finding.rule for finding in there.diagnosis] == [finding.rule for finding in here.diagnosis]


@pytest.mark.parametrize("name", ["MLP He ReLU x8", "residual MLP x12", "VGG pooled", "GPT pre-LN x12", "Llama"])
def test_single_precision_gives_the_same_verdict(name):
    """Sums are in another order there: each layer may add a rounding or two of 6e-8."""
    assert_same(*both(entry(name)), 1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_healthy_nets_are_healthy_on_the_device(name):
    torch.manual_seed(0)
    model, x = entry(name)()
    assert not alarms(probe(model.cuda(), moved(x)))


@pytest.mark.parametrize("bug", [bug for bug in FAST if not bug.options], ids=lambda bug: bug.name)
def test_planted_bugs_say_what_they_say_on_the_cpu(bug):
    here, there = both(bug.make)
    assert [(finding.rule, finding.module, finding.severity) for finding in there.diagnosis] == [
        (finding.rule, finding.module, finding.severity) for finding in here.diagnosis
    ]
    # A line that draws again is tried with one draw, of each device its own. The most severe finding heals with any.
    assert bool(there.diagnosis[0].fix) == bool(here.diagnosis[0].fix)


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_nets_are_named(name):
    torch.manual_seed(0)
    model, x = FAULTY[name]()
    assert alarms(probe(model.cuda(), moved(x)))


def state(model):
    """Every tensor of a model and every random state."""
    held = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held |= {f"rng {place}": state for place, state in enumerate(torch.cuda.get_rng_state_all())}
    return held | {"rng cpu": torch.get_rng_state()}


@pytest.mark.parametrize("faulty", [False, True])
def test_the_model_on_the_device_is_left_unchanged(faulty):
    """Also where a fix is tried, and after an exception."""
    torch.manual_seed(0)
    parts = [part for _ in range(12) for part in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.ReLU())]
    model = nn.Sequential(*parts, nn.Linear(64, 4)).cuda()
    nn.init.normal_(model[8].weight, std=30)
    x = torch.randn(32, 64, device="cuda")
    model(x).sum().backward()
    before, python = state(model), random.getstate()
    gradients = [parameter.grad for parameter in model.parameters()]
    kept = [gradient.clone() for gradient in gradients]
    if faulty:
        with pytest.raises(ConfigError, match="loss"):
            probe(model, x, loss=lambda y: y)
    else:
        probe(model, x)
    after = state(model)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert random.getstate() == python and model.training
    assert all(
        parameter.grad is own and torch.equal(own, was)
        for parameter, own, was in zip(model.parameters(), gradients, kept, strict=True)
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_judged(dtype):
    torch.manual_seed(0)
    model, x = gpt(4).cuda().to(dtype), BY_HAND["GPT pre-LN x4"].given().cuda()
    result = probe(model, x)
    assert not alarms(result)
    assert dtype == torch.float16 or result.coverage.share > 0.95


def test_autocast():
    torch.manual_seed(0)
    model, x = gpt(4).cuda(), BY_HAND["GPT pre-LN x4"].given().cuda()
    with torch.autocast("cuda", torch.bfloat16):
        assert not alarms(probe(model, x))


def test_memory_of_the_device_is_given_back():
    """And the measurement needs at most 100 MB of it above the passes."""
    torch.manual_seed(0)
    model, x = gpt(4, 256).cuda(), BY_HAND["GPT pre-LN x4"].given().cuda()

    def peak(run):
        run()  # the first call makes the handles of the libraries
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        gc.collect()
        assert torch.cuda.memory_allocated() <= before + MEGABYTE
        return torch.cuda.max_memory_allocated() - before

    def passes():
        output = model(x)
        torch.autograd.grad(output, list(model.parameters()), torch.randn_like(output))

    assert peak(lambda: probe(model, x, try_fixes=False)) < peak(passes) + 100 * MEGABYTE


def test_an_input_on_another_device_is_one_line():
    """The model's own words, or ours; in any case no number that is wrong."""
    with pytest.raises((ConfigError, RuntimeError)) as caught:
        probe(nn.Linear(8, 4).cuda(), torch.randn(16, 8))
    assert "device" in str(caught.value)
