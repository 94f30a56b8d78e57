"""Numbers of the whole net by name."""

from initprobe import ProbeConfig, run
from initprobe.results.named_numbers import number_of


def test_a_step_and_formats_are_numbers_of_the_whole_net():
    shape = {"init": "normal:std=1e-6", "act": "tanh", "layers": 3, "width": 10, "batch": 10, "draws": 1}
    result = run(ProbeConfig(**shape, optimizer="sgd", formats=["float16"]))
    assert number_of(result, "step.loss_after") == result.step.loss_after
    assert number_of(result, "formats.float16.signal") == result.formats[0].lost_at.signal == 2
    assert number_of(result, "formats.bfloat16.signal") is None
    assert number_of(run(ProbeConfig(**shape)), "step.loss_after") is None
