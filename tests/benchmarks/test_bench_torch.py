"""A probe of a PyTorch model beside the hooks that people write by hand, in one run.

`python -m pytest -m benchmark -s tests/benchmarks/test_bench_torch.py` prints the tables. They never fail on an
absolute time, only on a ratio. Times are of the processor, on one thread: those of the clock depend on what else runs.
"""

import io
import multiprocessing
import resource
import statistics
import time

import pytest

torch = pytest.importorskip("torch")

from bench_nets import language, residual, resnet50, tiny, words  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.reports.console import console  # noqa: E402
from initprobe.reports.run_table import print_result  # noqa: E402
from initprobe.torch import probe  # noqa: E402
from initprobe.torch.theory.pointwise import expectations  # noqa: E402

BINS = 200
LARGE, SMALL = 1.3, 2.0  # largest ratio to the time of the hooks
MEMORY_MB = 100  # largest peak above that of the passes


def mlp():
    """Ten layers of 500."""
    parts = [nn.Linear(500, 500) for _ in range(10)]
    for part in parts:
        nn.init.xavier_normal_(part.weight)
    return nn.Sequential(*(module for part in parts for module in (part, nn.Tanh())))


NETS = {
    "MLP 10 x 500, batch 1000": (mlp, lambda: torch.randn(1000, 500), LARGE),
    "ResNet-50, 8 x 3 x 96 x 96": (resnet50, lambda: torch.randn(8, 3, 96, 96), LARGE),
    "GPT 4 x 512, 4 x 128 words": (lambda: language(False), words, LARGE),
    "Llama 4 x 512, 4 x 128 words": (lambda: language(True), words, LARGE),
    "200 layers of 16, batch 64": (tiny, lambda: torch.randn(64, 16), SMALL),
    "1,000 residual layers of 16": (residual, lambda: torch.randn(64, 16), SMALL),
}


def hooked(model, x):
    """Mean, variance and histogram of each module's output and its gradient, and of each matrix and its gradient."""
    outputs = []

    def record(tensor):
        plain = tensor.detach()
        return plain.mean().item(), plain.var(unbiased=False).item(), torch.histc(plain, BINS)

    def after(module, given, output):
        if any(output is earlier for earlier in outputs[-2:]):  # a parent gives what its last child gave
            return
        outputs.append(output)
        record(output)
        output.register_hook(lambda gradient: record(gradient) and None)

    def work():
        handles = [module.register_forward_hook(after) for module in model.modules()]
        passes(model, x, record)
        for handle in handles:
            handle.remove()
        outputs.clear()

    return work


def passes(model, x, record=None):
    """Forward and back; `record` is called with matrices and their gradients."""
    output = model(x)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(output, parameters, torch.randn_like(output))
    if record is not None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if parameter.ndim > 1:
                record(parameter), record(gradient)


def ours(model, x):
    """The measurement and its verdict, without the trials of fixes."""
    return probe(model, x, try_fixes=False, threads=1)


def first_of_its_kind(work, model, x):
    """A result whose theory finds no integral of an earlier repeat: a process probes most models once."""
    expectations.cache_clear()
    return work(model, x)


def in_a_log(result):
    """All tables, as `-v` prints them to a file."""
    print_result(result, console(io.StringIO()), verbose=True)


def paired(rivals, repeats):
    """Seconds of the processor that each takes in each repeat, interleaved, after one repeat that warms up."""
    times = {name: [] for name in rivals}
    for repeat in range(repeats + 1):
        for name, rival in rivals.items():
            started = time.process_time()
            rival()
            if repeat:
                times[name].append(time.process_time() - started)
    return times


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.benchmark
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NETS)
def test_beside_hooks_by_hand(name):
    make, given, most = NETS[name]
    torch.manual_seed(0)
    model, x = make(), given()
    hand, probed = "hooks by hand: mean, var, histc", "measurement and verdict"
    rivals = {
        "forward and backward": lambda: passes(model, x),
        hand: hooked(model, x),
        probed: lambda: ours(model, x),
        "and the table": lambda: first_of_its_kind(ours, model, x).table(),
        "and every row, in a log": lambda: in_a_log(first_of_its_kind(ours, model, x)),
        "and the trials of fixes": lambda: probe(model, x, threads=1).table(),
    }
    times = paired(rivals, 7)
    print(f"\n{name}, medians of 7 paired repeats; aim at most {most} x the hooks")
    ratios = {}
    for rival, seconds in times.items():
        ratios[rival] = statistics.median(own / by_hand for own, by_hand in zip(seconds, times[hand], strict=True))
        print(f"{rival:34}{statistics.median(seconds) * 1e3:8.0f} ms{ratios[rival]:8.2f} x the hooks")
    assert ratios[probed] < most


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def added_mb(name, pipe):
    """Send the peak memory of a probe above that of the passes; the code of both is loaded before."""
    make, given, _ = NETS[name]
    small = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    passes(small, torch.randn(4, 4))
    probe(small, torch.randn(4, 4), try_fixes=False)
    torch.manual_seed(0)
    model, x = make(), given()
    for _ in range(2):
        passes(model, x)
    before = peak_mb()
    probe(model, x, try_fixes=False)
    pipe.send(peak_mb() - before)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", NETS)
def test_memory_above_the_passes(name):
    """In a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=added_mb, args=(name, theirs))
    process.start()
    process.join()
    added = ours.recv()
    print(f"\n{name}: {added:.0f} MB above forward and backward; aim at most {MEMORY_MB} MB")
    assert added < MEMORY_MB
