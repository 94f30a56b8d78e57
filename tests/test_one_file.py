"""An activation, an initializer, a rule and so on is added by an edit of one file, and appears everywhere."""

from edited_package import completed, edited, printed

ACTIVATION = """

def throwaway(bend: float = 2.0) -> Activation:
    \"\"\"A tanh of another slope.\"\"\"
    return replace(tanh(), name="throwaway", aliases=("cast_off",), formula="tanh(bend x)",
                   value=lambda z: np.tanh(bend * z), slope=lambda z, h: bend * (1 - h * h),
                   params={"bend": bend}, make=throwaway)


from dataclasses import replace
SIGMOIDS = (*SIGMOIDS, throwaway())
"""
INITIALIZER = """

def throwaway(gain: float = 1.0) -> Initializer:
    \"\"\"LeCun's rule by another name.\"\"\"
    return replace(lecun_normal(gain), name="throwaway", aliases=("cast_off",), example="throwaway",
                   make=throwaway)


from dataclasses import replace
FAN_SCALED = (*FAN_SCALED, throwaway())
"""


def test_an_activation(tmp_path):
    place = edited(tmp_path, "activations/sigmoids.py", ACTIVATION)
    run = "run --init lecun --act throwaway:bend=1.5 --layers 2 --width 20 --batch 40 --draws 1"
    outputs = printed(place, "list activations", "explain cast-off", "gain --all", run, "phase --act throwaway")
    assert all("throwaway" in output.lower() for output in outputs)
    assert "tanh(bend x)" in outputs[0]
    assert completed(place, "initprobe run --act throw") == ["plain,throwaway"]
    assert completed(place, "initprobe run --act throwaway:") == ["plain,throwaway:bend=2"]


def test_an_initializer(tmp_path):
    place = edited(tmp_path, "initializers/fan_scaled.py", INITIALIZER)
    run = "run --init throwaway:gain=2 --act tanh --layers 2 --width 20 --batch 40 --draws 1"
    outputs = printed(place, "list initializers", "explain cast-off", run)
    assert all("throwaway" in output.lower() for output in outputs)
    assert completed(place, "initprobe run --init throw") == ["plain,throwaway"]
    assert completed(place, "initprobe run --init throwaway:") == ["plain,throwaway:gain=1"]
