"""The code for tensors on a CUDA device, run on the processor: its numbers, and how often the host waits for them."""

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initprobe.engine.threads import workers  # noqa: E402
from initprobe.results.base import TENSORS  # noqa: E402
from initprobe.torch import device_statistics, device_tensors, probe  # noqa: E402
from initprobe.torch.measure import SmallTensors, Track  # noqa: E402

# Methods for which the host waits until the device has done all that was asked of it.
WAITING = ("item", "tolist", "nonzero", "numpy", "cpu", "__bool__", "__float__", "__int__")


class Device:
    """Counts how often the host waits for tensors that say they are on a CUDA device."""

    def __init__(self):
        self.waits = 0
        self.copies = {}  # on the host, by their place in memory

    def holds(self, tensor):
        return tensor.untyped_storage().data_ptr() not in self.copies

    def counted(self, method):
        def call(tensor, *args, **kwargs):
            self.waits += tensor.is_cuda
            return method(tensor, *args, **kwargs)

        return call

    def copied(self, tensor):
        self.waits += tensor.is_cuda
        copy = tensor.clone() if tensor.is_cuda else tensor
        self.copies[copy.untyped_storage().data_ptr()] = copy
        return copy


@pytest.fixture
def device(monkeypatch):
    """All tensors say that they are on a CUDA device, but for those that were copied to the host."""
    held = Device()
    for name in WAITING:
        monkeypatch.setattr(torch.Tensor, name, held.counted(getattr(torch.Tensor, name)))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: held.copied(tensor))
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(held.holds))
    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda tensor: not held.holds(tensor)))
    return held


def both(tensor, cosines=True, **options):
    """The statistics of a tensor by NumPy, and by the code for devices."""
    with workers(1) as pool:
        few = SmallTensors(pool)
        here, there = (Track.like(tensor, 0, few, True, **options) for _ in range(2))
        here.measure(tensor, cosines)
        there.begin_draw()
        there._measure_there(tensor, len(tensor) if cosines else 0)
        few.empty()
    return here, there


def assert_same(here, there):
    assert (there.keys.tolist(), there.counts.tolist()) == (here.keys.tolist(), here.counts.tolist())
    assert (there.low, there.high, there.zeros) == (here.low, here.high, here.zeros)
    assert (there.infinite, there.nan) == (here.infinite, here.nan)
    assert list(there.correlations) == [pytest.approx(cosine, abs=1e-6) for cosine in here.correlations]
    if not here.nonfinite:
        assert there.centre == pytest.approx(here.centre, rel=1e-6)
        assert there.variance == pytest.approx(here.variance, rel=1e-6)
        assert there.mean == pytest.approx(here.mean, rel=1e-6, abs=1e-7 * math.sqrt(here.square))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_statistics_are_those_of_numpy(dtype):
    """Zeros of both signs, extremes, buckets, cosines, and a mean far from 0."""
    torch.manual_seed(0)
    normal = torch.randn(40, 300)
    for tensor in (normal, 100 + normal, normal.relu(), -normal.relu(), torch.zeros(4, 5), normal.t()):
        assert_same(*both(tensor.to(dtype)))


def test_parts_are_merged(monkeypatch):
    """A tensor larger than a part: moments, counts and cosines of all parts together."""
    torch.manual_seed(0)
    monkeypatch.setattr(device_statistics, "_PART", 1000)
    for tensor in (3 + torch.randn(40, 301), 1000 + torch.randn(7, 1500)):
        assert_same(*both(tensor))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_entries_that_are_not_finite_are_counted(bad):
    tensor = torch.randn(30, 200)
    tensor[3, 4:9], tensor[5, 5] = bad, math.inf
    tensor.view(torch.int32)[7, 7] = 0x7F800001  # a NaN whose leading bits are those of infinity
    here, there = both(tensor)
    assert (there.infinite, there.nan) == (here.infinite, here.nan) == ((1, 6) if bad != bad else (6, 1))


def test_magnitudes_for_small_formats_are_those_of_numpy():
    tensor = torch.randn(50, 100).relu() * torch.logspace(-44, 30, 100)
    here, there = both(tensor, has_magnitudes=True)
    assert there.magnitudes.cells.tolist() == here.magnitudes.cells.tolist()
    assert there.magnitudes.counts.tolist() == here.magnitudes.counts.tolist()


def test_what_waits_is_bounded_and_a_copy(monkeypatch):
    """Tensors are measured once there are enough of them, and later changes of them are not seen."""
    monkeypatch.setattr(device_tensors, "_MOST_WAITING", 1000)
    few = SmallTensors(None)
    tracks = [Track.like(torch.ones(4), 0, few, fine=True) for _ in range(9)]
    tensor = torch.zeros(300)
    for place, track in enumerate(tracks):
        track.begin_draw()
        track._measure_there(tensor.fill_(place), 0)
        assert few.there(tensor.device)._entries < 1000
    tracks[0].begin_draw()
    few.empty()
    assert [track.mean for track in tracks[1:]] == list(range(1, 9))


def net(layers):
    torch.manual_seed(0)
    parts = [(nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 24), nn.Tanh()) for _ in range(layers)]
    return nn.Sequential(*(module for part in parts for module in part)), torch.randn(16, 24)


def test_a_result_is_that_of_the_processor(device, monkeypatch):
    model, x = net(3)
    there = probe(copy.deepcopy(model), x, threads=1)
    assert device.waits
    monkeypatch.undo()
    here = probe(model, x, threads=1)
    assert [finding.rule for finding in there.diagnosis] == [finding.rule for finding in here.diagnosis]
    for mine, yours in zip(here.layers, there.layers, strict=True):
        assert yours.output.dead_fraction == mine.output.dead_fraction
        assert yours.output.saturated_fraction == mine.output.saturated_fraction
        for tensor in TENSORS:
            a, b = mine.tensor(tensor), yours.tensor(tensor)
            assert b.rms == pytest.approx(a.rms, rel=1e-5) and b.mean == pytest.approx(a.mean, abs=1e-5 * a.rms)
            assert (b.min, b.max, b.zero_fraction) == (a.min, a.max, a.zero_fraction)


def test_the_host_waits_no_more_often_for_a_deeper_model(device):
    """For 200 layers it waited eleven thousand times."""
    waits = []
    for layers in (2, 8):
        model, x = net(layers)
        device.waits = 0
        probe(model, x, threads=1, try_fixes=False)
        waits.append(device.waits)
    assert waits[0] == waits[1] < 20
