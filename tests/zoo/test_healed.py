"""Nets with faulty weights become healthy by a function that is written and tried, and by `initialize`."""

import pytest

torch = pytest.importorskip("torch")

from faulty_by_weights import FAST, SLOW  # noqa: E402
from faulty_further import FURTHER  # noqa: E402
from planted_run import alarms  # noqa: E402

from initprobe.torch import initialize, probe  # noqa: E402
from initprobe.torch.fix_file import fix_file  # noqa: E402
from initprobe.torch.init_code import run  # noqa: E402

LEAST = 0.95  # share of the nets of a panel


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small lose more time to threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probed(model, x, loss):
    return alarms(probe(model, x, loss=loss, try_fixes=False, threads=1))


def healed(make, seed=0):
    """Whether the net was faulty, is healed by the file in another draw, and was not changed by the search."""
    torch.manual_seed(seed)
    model, x, *losses = make()
    loss = losses[0] if losses else None
    assert probed(model, x, loss)
    before = [tensor.clone() for tensor in model.state_dict().values()]
    state = torch.get_rng_state()
    text = fix_file(model, x, loss=loss, seed=seed, threads=1).text
    assert torch.equal(state, torch.get_rng_state())
    # Bit for bit, also a NaN and the sign of 0.
    after = model.state_dict().values()
    assert all(_bits(old) == _bits(new) for old, new in zip(before, after, strict=True))
    if text is None:
        return False
    torch.manual_seed(seed + 100)
    run(text, model)
    return not probed(model, x, loss)


def _bits(tensor):
    return tensor.detach().contiguous().numpy().tobytes()


@pytest.mark.parametrize("name", FAST)
def test_fixes_of_small_faulty_nets_work(name):
    assert healed(FAST[name])


@pytest.mark.parametrize("method", ["critical", "forward", "balanced", "lsuv"])
def test_initialize_repairs_faulty_nets(method):
    torch.manual_seed(0)
    for name in ("torch default ReLU", "weight norm of torch", "transposed by kaiming"):
        model, x = FAST[name]()
        initialize(model, x, method)
        assert not probed(model, x, None), (name, method)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("panel", "count"), [(FAST | SLOW, 40), (FURTHER, 20)], ids=["forty", "twenty further"])
def test_fixes_of_the_whole_panel_work(panel, count, seed):
    outcomes = {name: healed(make, seed) for name, make in panel.items()}
    missed = [name for name, is_healed in outcomes.items() if not is_healed]
    print(f"\n{len(panel) - len(missed)} of {len(panel)} healed; not: {missed}")
    assert len(panel) == count
    assert len(panel) - len(missed) >= LEAST * count, missed
