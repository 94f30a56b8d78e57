"""The glossary: the words of tables, verdicts and papers, as `initprobe explain` shows them."""

from __future__ import annotations

from initprobe.registry import Registry
from initprobe.reports.glossary_columns import COLUMNS
from initprobe.reports.glossary_shown import FIGURE_WORDS, SUMMARY_WORDS, TABLE_WORDS, VERDICT_WORDS
from initprobe.reports.glossary_word import GLOROT, POOLE, SCHOENHOLZ, YANG, Word

_PROCESS = (
    Word(
        "signal",
        "The outputs h of the layers, forward. It survives if its variance neither vanishes nor explodes.",
        see=("h",),
    ),
    Word(
        "gradient",
        "The derivatives of the loss, computed backward. A layer without gradient does not learn.",
        see=("dL/dh", "dL/dW"),
    ),
    Word(
        "layer", "One matrix product with its activation, z = h W + b and h = phi(z). The first has number 1.", ("l",)
    ),
    Word("unit", "One column of W and its output; in a convolution, a channel.", ("neuron", "channel")),
    Word(
        "draw", "One network with its own random weights. Tables show means over all draws.", ("draws",), see=("+-%",)
    ),
    Word("run", "One experiment, measured. `initprobe run` makes one, a sweep makes many.", see=("experiment", "draw")),
    Word("experiment", "All settings of a run: initializer, activation, sizes, input, draws and seed.", see=("run",)),
    Word(
        "finding",
        "A fault or a remark that a rule of the verdict reports, with its layer and numbers.",
        see=("verdict", "rule"),
    ),
    Word(
        "contract",
        "A YAML file that states which initialization each parameter is meant to have. Under `version: 1` it has "
        '`default: RULE` and `parameters:`. There each line is a pattern of names and its rule, `"*.bias": zeros`. The '
        "most specific pattern wins. The rule `any` is not judged. Patterns under `optional:` may match nothing. "
        "`initprobe torch --expect` compares, and `initprobe recognize --export-yaml` writes one. A correct model "
        "fails in at most 1 of 100 draws.",
        see=("lock", "normal", "he"),
    ),
    Word(
        "lock",
        "The contract that `initprobe torch --lock` writes: what every parameter has today. `12 x` counts the names "
        "that a pattern covers. `~` marks measured numbers, which are compared by their distribution. "
        "`~moments` compares mean and std alone, where the distribution has no name.",
        see=("contract",),
    ),
    Word(
        "initialize",
        "`initprobe.torch.initialize` sets the weights of a PyTorch model, by a method. `critical` is the edge of "
        "chaos of the activation that follows. `forward` keeps the mean square of the signal. `balanced` weighs signal "
        "and gradient: variance 2 / (fan_in / gain^2 + fan_out / gain_back^2). `lsuv` scales each layer to variance 1 "
        "on the input. `contract` draws what a contract says. `initprobe torch --fix` tries the first four in turn.",
        ("method", "methods", "balanced"),
        see=("critical", "lsuv", "contract"),
    ),
    Word(
        "transfer",
        "A network transfers if its best learning rate does not depend on the width. Then h before training, its "
        "change and the update of each layer have slope 0. `initprobe width` measures them.",
        ("transfers", "mutransfer"),
        see=("mup", "coordinate check", "slope of a width"),
        reference=YANG,
    ),
    Word(
        "mup",
        "Maximal update parametrization: each layer learns as fast in a wide network as in a narrow one. Starts and "
        "learning rates are scaled by powers of the width. With Adam, the rates of hidden weights and of the read-out "
        "fall as 1/width. The read-out starts as 1/width.",
        ("maximal update parametrization", "mu-parametrization"),
        see=("transfer",),
        reference=YANG,
    ),
    Word(
        "coordinate check",
        "The rms of each layer against the width, before training and over the first steps, as `initprobe width` draws "
        "it.",
        ("coord check", "coord_check"),
        see=("transfer",),
        reference=YANG,
    ),
    Word(
        "slope of a width",
        "The power s of a size that is fitted as width^s, from log rms against log width.",
        ("width slope",),
        see=("transfer",),
    ),
    Word(
        "update",
        "fan_in rms(dW) rms(input): the largest change of z that a change dW of the weights can make. It is reached "
        "where dW is aligned with the input. Before a norm it is relative to z.",
        ("own change", "own_change"),
        see=("transfer",),
    ),
    Word(
        "formats",
        "Small floating-point formats: float16, bfloat16, float8_e4m3fn, float8_e5m2. `--formats` counts what each "
        "tensor would lose in them. Nothing is computed in them: entries of the float32 network are counted. The "
        "verdict judges 16-bit formats without a scale, but gradients with a loss scale. It judges 8-bit formats with "
        "the best scale of each tensor.",
        ("number formats", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
        see=("lost/subnormal %", "loss scale", "lost-in-format"),
    ),
    Word(
        "loss scale",
        "A factor of the loss, and so of all gradients, which are divided by it before the step. With the scale that "
        "is printed, no gradient leaves the range, and the fewest become 0. `initprobe run` starts the gradient with "
        "N(0, 1) at the last layer. For a loss whose gradient there has another rms, divide the scale by this rms.",
        see=("formats",),
        reference="Micikevicius et al. 2018, arXiv:1710.03740",
    ),
    Word(
        "largest curvature",
        "The largest eigenvalue of the Hessian of the loss over all parameters at the start, by Lanczos iterations. "
        "Above the learning rate 2 / curvature, a small step of SGD along its eigenvector grows. Then the loss may "
        "rise at first. `--optimizer sgd` computes it. Adam rescales every entry, so it has no such limit.",
        ("sharpness", "curvature", "lambda_max", "highest rate"),
        see=("1 step of W",),
        reference="Cohen et al. 2021, arXiv:2103.00065",
    ),
    Word("verdict", "All findings of a result. The signal survives if none is above info.", ("diagnosis", "healthy")),
    Word("rule", "A test for one fault of a net. `initprobe list rules` shows all.", ("rules",)),
    Word(
        "fix",
        "A command that is predicted to run without the fault. For a PyTorch model, a line of code that was tried.",
        ("remedy",),
    ),
    Word("threshold", "A limit of the verdict. `initprobe list thresholds` shows all.", ("thresholds", "limit")),
    Word(
        "branch",
        "The layers whose output, times the branch scale s, is added to the stream in a residual net.",
        ("residual", "skip"),
        see=("stream", "block"),
    ),
    Word(
        "stream",
        "In a residual net, the signal to which branches are added. Also: the random numbers of one layer and draw.",
        ("seed", "residual stream"),
        see=("branch",),
    ),
    Word(
        "block",
        "Consecutive layers that form one branch. In a PyTorch model, the layers in one module.",
        see=("branch",),
    ),
    Word("head", "The last layers of a PyTorch model, which give its output. Also: one of the units of attention."),
)

_SYMBOLS = (
    Word("h", "Output of a layer, h = phi(z).", ("output", "output h"), "output"),
    Word(
        "z",
        "Pre-activation of a layer, z = h W + b with the h of the layer before.",
        ("pre-activation",),
        "preactivation",
    ),
    Word("phi", "The activation function. phi' is its slope.", ("activation", "nonlinearity", "act")),
    Word("W", "Weights of a layer, of shape (fan_in, fan_out).", ("weight", "weights"), "weight"),
    Word("b", "Biases of a layer.", ("bias", "biases")),
    Word("fan_in", "The number of inputs over which a unit sums.", ("fan in",), "fan_in"),
    Word("fan_out", "The number of units of a layer.", ("fan out",), "fan_out"),
    Word("gain", "Std of the weights times sqrt(fan_in), chosen for an activation.", see=("chi_1",)),
    Word(
        "sigma_w", "Std of the weights times sqrt(fan_in); its square is fan_in Var(W).", ("sigma w",), reference=POOLE
    ),
    Word("sigma_b", "Std of the biases.", ("sigma b",), reference=POOLE),
    Word(
        "q",
        "Mean square of a layer's z over units and samples: the square of its rms.",
        ("length",),
        "preactivation.rms",
        ("q*",),
        reference=POOLE,
    ),
    Word("q*", "The fixed point of q in a very deep net.", ("q star", "fixed point"), "", ("q", "chi_1"), POOLE),
    Word("c", "Cosine between the z of two different inputs.", ("c*",), "correlation", ("cos",), POOLE),
    Word(
        "chi_1",
        "fan_in Var(W) E[phi'(z)^2]: the factor of the gradient's variance per layer, and of small differences between "
        "inputs. Below 1 is order, above 1 chaos, 1 the edge between them.",
        ("chi", "chi 1", "chi_1*"),
        "",
        ("edge of chaos", "xi"),
        POOLE,
    ),
    Word(
        "xi",
        "Depth scale: the number of layers over which a signal or gradient changes by a factor of e.",
        ("depth scale", "depth scales", "e-fold", "gradient depth"),
        "depth_scales.gradient.measured",
        ("chi_1",),
        SCHOENHOLZ,
    ),
    Word(
        "length map",
        "The q of a layer as a function of the q of the layer before. Where its slope is above 1, q drifts away.",
        ("map slope", "slope", "length slope"),
        "theory.length_slope",
        ("unstable-gain", "q"),
    ),
    Word(
        "E[phi^2]",
        "Mean square of the output for z ~ N(0, q), the activation's part in the signal.",
        ("e[phi(z)^2]",),
    ),
    Word(
        "E[phi'^2]",
        "Mean square of the slope for z ~ N(0, q), the activation's part in the gradient.",
        ("mean squared slope",),
        see=("chi_1",),
    ),
)

_TROUBLE = (
    Word(
        "collapse",
        "The signal vanishes, or all inputs become alike, which the variance does not show.",
        ("collapsed",),
        see=("vanishing-output", "rank-collapse"),
    ),
    Word(
        "vanishing",
        "Signal or gradient shrinks by a factor at every layer.",
        ("vanish", "vanishing gradients", "decay"),
        see=("vanishing-output", "vanishing-gradient"),
        reference=GLOROT,
    ),
    Word(
        "exploding",
        "Signal or gradient grows by a factor at every layer.",
        ("explode", "exploding gradients", "blow up"),
        see=("exploding-output", "exploding-gradient"),
    ),
    Word(
        "dead relu",
        "A ReLU whose input is negative for every sample. Its output is 0, and it never learns.",
        ("dying relu", "dead relus", "dead neurons", "dead unit"),
        "output.dead_fraction",
        ("dead-units", "dead-layer"),
    ),
    Word(
        "edge of chaos",
        "chi_1 = 1: small differences between inputs neither grow nor decay, so signals reach many layers.",
        ("criticality", "dynamical isometry"),
        see=("chi_1", "critical"),
        reference=SCHOENHOLZ,
    ),
    Word(
        "chaos",
        "chi_1 > 1: similar inputs become different, and gradients grow backward.",
        ("chaotic phase",),
        see=("chaotic", "chi_1"),
        reference=POOLE,
    ),
    Word(
        "order",
        "chi_1 < 1: all inputs become alike, and gradients decay backward.",
        ("ordered", "ordered phase"),
        see=("rank-collapse", "chi_1"),
        reference=POOLE,
    ),
)

_SHOWN = (*FIGURE_WORDS, *VERDICT_WORDS, *SUMMARY_WORDS, *TABLE_WORDS)
WORDS = Registry("word", [*_PROCESS, *_SYMBOLS, *COLUMNS, *_TROUBLE, *_SHOWN])
