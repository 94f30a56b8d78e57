"""The glossary: the words of tables, verdicts and papers, as `initprobe explain` shows them."""

from __future__ import annotations

from dataclasses import dataclass

from initprobe.registry import Registry

GLOROT = "Glorot & Bengio 2010, AISTATS 9:249"
POOLE = "Poole et al. 2016, arXiv:1606.05340"
SCHOENHOLZ = "Schoenholz et al. 2017, arXiv:1611.01232"


@dataclass(frozen=True)
class Word:
    """A word and its meaning.

    Attributes:
        name: as a table or a paper writes it.
        meaning: in a sentence or two.
        aliases: other ways to write it.
        json: the number in JSON that it stands for; empty for none.
        see: names of further explanations.
        reference: source; empty for words of this project.
    """

    name: str
    meaning: str
    aliases: tuple[str, ...] = ()
    json: str = ""
    see: tuple[str, ...] = ()
    reference: str = ""

    @property
    def make(self) -> None:
        """A word has no parameters."""


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
    Word("layer", "One matrix product with its activation, z = h W + b and h = phi(z). The first has number 1."),
    Word("unit", "One column of W and its output; in a convolution, a channel.", ("neuron", "channel")),
    Word(
        "draw", "One network with its own random weights. Tables show means over all draws.", ("draws",), see=("+-%",)
    ),
    Word("run", "One experiment, measured. `initprobe run` makes one, a sweep makes many.", see=("experiment", "draw")),
    Word("experiment", "All settings of a run: initializer, activation, sizes, input, draws and seed.", see=("run",)),
    Word(
        "finding", "One observation of a rule of the verdict, with its layer and the numbers.", see=("verdict", "rule")
    ),
    Word(
        "contract",
        "A YAML file that states which initialization each parameter is meant to have. Under `version: 1` it has "
        '`default: RULE` and `parameters:`. There each line is a pattern of names and its rule, `"*.bias": zeros`. The '
        "most specific pattern wins. The rule `any` is not judged. `initprobe torch --expect` compares, and `initprobe "
        "recognize --export-yaml` writes one. A correct model fails in at most 1 of 100 draws.",
        see=("lock", "normal", "he"),
    ),
    Word(
        "lock",
        "The contract that `initprobe torch --lock` writes: what every parameter has today. `12 x` counts the names "
        "that a pattern covers. `~` marks measured numbers, which are compared by their distribution.",
        see=("contract",),
    ),
    Word("verdict", "All findings of a result. The signal survives if none is above info.", ("diagnosis", "healthy")),
    Word("rule", "A test for one fault of a net. `initprobe list rules` shows all.", ("rules",)),
    Word(
        "fix",
        "A command line predicted to run without the fault. For a PyTorch model, a line of code that was tried.",
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
    Word("phi", "The activation function. phi' is its slope.", ("activation", "nonlinearity")),
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
        "The q of a layer as a function of the q below. Where its slope is above 1, q drifts away.",
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

_COLUMNS = (
    Word(
        "std",
        "Standard deviation of h over all units and samples, averaged over the draws.",
        ("output h std",),
        "output.std",
    ),
    Word("var", "Variance over all units and samples, averaged over the draws.", ("variance",), "output.variance"),
    Word(
        "theory",
        "Prediction for an infinitely wide net with the same input: std of h, or variance of dL/dh.",
        ("prediction", "mean field", "predicted"),
        "theory.output_variance",
    ),
    Word(
        "+-%",
        "Standard deviation of a variance over draws, in percent of its mean.",
        ("+-", "spread"),
        "output.variance_sd",
    ),
    Word(
        "sat%",
        "Share of outputs in the flat band of the activation, where its slope is below 5.9% of its largest.",
        ("sat", "saturation", "saturated fraction"),
        "output.saturated_fraction",
        ("saturated",),
        GLOROT,
    ),
    Word(
        "dead%",
        "Share of units that are off for every sample of every batch.",
        ("dead", "dead fraction"),
        "output.dead_fraction",
        ("dead-units", "dead-layer"),
    ),
    Word(
        "cos",
        "Mean cosine between the z of two different inputs. At 1 the inputs are indistinguishable.",
        ("cosine", "z cos"),
        "correlation",
        ("rank-collapse", "chaotic"),
    ),
    Word(
        "dL/dh",
        "Gradient of the loss with respect to h. The backward pass starts with N(0, 1) at the last layer.",
        ("dL/dh var", "output gradient"),
        "output_gradient.variance",
        ("vanishing-gradient", "exploding-gradient"),
    ),
    Word(
        "dL/dz",
        "Gradient of the loss with respect to z.",
        ("pre-activation gradient",),
        "preactivation_gradient.variance",
    ),
    Word(
        "dL/dW",
        "Gradient of the loss with respect to W, summed over samples, as an optimizer gets it.",
        ("dL/dW var", "weight gradient"),
        "weight_gradient.variance",
    ),
    Word("dW/W", "Root mean square of dL/dW over that of W.", ("update ratio",), "gradient_to_weight_ratio"),
    Word(
        "branch/stream",
        "rms of what a branch adds over that of the residual stream to which it is added.",
        ("branch /stream", "branch ratio", "/stream"),
        "branch_ratio",
    ),
    Word(
        "mean gate",
        "Mean of the gate that decides what passes on: of a recurrence, the share of its memory that it keeps.",
        ("gate", "gates"),
        "gates.product",
        ("shut-gate", "short-memory"),
    ),
    Word(
        "memory steps",
        "Steps over which a gated recurrence remembers: 1 / (1 - mean of its forget or update gate).",
        ("memory",),
        "gates.memory_steps",
        ("short-memory",),
    ),
    Word(
        "fit",
        "For weights fitted to the data: the reconstruction loss, or the variance, before and after.",
        ("before", "after", "fit before", "fit after"),
        "fitting.after",
    ),
    Word(
        "loss by",
        "Variances of dL/dh and dL/dW for a real loss, the mean over the batch.",
        ("loss by h var", "h var", "W var", "loss"),
        "loss_output_gradient_variance",
    ),
    Word(
        "h in",
        "Histogram of the outputs on one axis, the same for every layer.",
        ("h in ..", "histogram"),
        "output.histogram",
    ),
    Word("mean", "Mean over all entries of a tensor.", json="output.mean"),
    Word("rms", "Root mean square of all entries of a tensor.", json="output.rms"),
    Word("min", "Smallest entry of a tensor.", json="output.min"),
    Word("max", "Largest entry of a tensor.", json="output.max"),
    Word("zero%", "Share of entries that are exactly 0.", ("zero",), "output.zero_fraction"),
    Word("~0%", "Share of entries within 1% of the rms of 0.", ("near zero",), "output.near_zero_fraction"),
    Word("bad", "Entries that are infinite or NaN.", ("nonfinite",), "output.nonfinite_count"),
    Word(
        "percentiles",
        "Values below which 1, 5, 25, 50, 75, 95 and 99 percent of the entries lie.",
        ("p1", "p5", "p25", "p50", "p75", "p95", "p99", "median"),
        "output.percentiles.p50",
    ),
    Word(
        "s",
        "Singular value of a Jacobian: the factor by which it stretches one direction.",
        ("largest", "smallest", "s^2", "s^2 mean"),
    ),
    Word("lost", "Share of singular values that float64 cannot distinguish from 0.", ("lost %",)),
    Word("near 1", "Share of singular values between 0.8 and 1.25.", ("near", "near 1 %")),
    Word("forward gain", "The gain that keeps the mean square of h at 1.", ("forward",), see=("gain", "E[phi^2]")),
    Word("backward gain", "The gain that keeps the gradient's variance.", ("backward",), see=("gain", "E[phi'^2]")),
    Word("torch gain", "The gain of torch.nn.init.calculate_gain.", ("torch",), see=("gain",)),
    Word(
        "1/std",
        "The gain for weights that ignore the mean of phi, one over the std of phi(z).",
        ("NFNet", "1/std NFNet"),
    ),
    Word("phase", "The state of a very deep net: order, chaos, or the edge between.", see=("order", "chaos")),
    Word("module", "A part of a PyTorch model, by its qualified name.", ("class", "name")),
    Word("dL/din", "Gradient of the loss with respect to the input of a module.", ("dL/din var", "input var")),
    Word("dL/dout", "Gradient of the loss with respect to the output of a module.", ("dL/dout var", "output var")),
    Word("init + act", "Initializer and activation of a row of `initprobe compare`."),
    Word(
        "log var h by layer",
        "The variance of h over depth as a line of blocks, on a log axis.",
        ("log var h", "by layer"),
    ),
    Word("first", "The number at the first layer.", ("last",)),
    Word(
        "under",
        "The dtype lost this number: under is too small, over is infinite, NaN is not a number.",
        ("over", "nan"),
        see=("underflow", "overflow"),
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

WORDS = Registry("word", [*_PROCESS, *_SYMBOLS, *_COLUMNS, *_TROUBLE])
