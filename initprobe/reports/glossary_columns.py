"""The columns of tables, as words of the glossary."""

from __future__ import annotations

from initprobe.reports.glossary_word import GLOROT, Word

COLUMNS = (
    Word(
        "std",
        "Standard deviation of h over all units and samples, averaged over the draws.",
        ("output h std",),
        "output.std",
    ),
    Word(
        "var",
        "Variance over all units and samples, averaged over the draws.",
        ("variance", "var h", "var h, last layer"),
        "output.variance",
    ),
    Word(
        "theory",
        "Prediction for an infinitely wide net with the same input: std of h, or variance of dL/dh.",
        (
            *("prediction", "mean field", "predicted", "theory of h var", "theory of var h", "theory of dL/dh var"),
            *("theory of var dL/dh", "theory of mean", "theory of spread"),
        ),
        "theory.output_variance",
    ),
    Word(
        "+-%",
        "Standard deviation of a variance over draws, in percent of its mean.",
        ("+-", "spread over draws"),
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
        "lost/subnormal %",
        "Two shares of all entries of a tensor in a small format. Lost entries are rounded to 0 or leave "
        "the range. Subnormal entries keep fewer bits of the mantissa.",
        ("lost share", "subnormal"),
        see=("formats", "best scale"),
    ),
    Word(
        "best scale",
        "The power of two by which a tensor is multiplied before it is stored in a small format. No entry leaves the "
        "range, fewest become 0, then fewest become subnormal. Of equally good scales, it is the one nearest to 1.",
        see=("formats", "lost/subnormal %"),
    ),
    Word(
        "1 step of W",
        "rms(change of W) / rms(W) in one step of the optimizer from the start, for the first network and batch.",
        ("of W", "change of W", "update size", "step size", "one step"),
        "weight_step_ratio",
        ("1 step of h", "largest curvature"),
    ),
    Word(
        "1 step of h",
        "rms(change of h) / rms(h) after one step of the optimizer, on the batch of the step.",
        ("of h", "change of h"),
        "output_step_ratio",
        ("1 step of W",),
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
        "local",
        "Prediction for independent weights and the measured input of this layer. That of dL/dh starts from the "
        "gradients measured behind the layer.",
        (
            *("local theory", "end to end", "local theory of h var", "local theory of dL/dh var", "local h z-score"),
            "local dL/dh z-score",
        ),
        "model_theory.local.output.variance",
    ),
    Word(
        "branch/stream",
        "rms of what a branch adds over that of the residual stream to which it is added.",
        ("branch /stream", "branch ratio", "/stream"),
        "branch_ratio",
    ),
    Word(
        "mean gate",
        "Mean of a sigmoid that multiplies another signal. In a recurrence, the share of the memory that is kept.",
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
        "dloss/dh",
        "Variances of dL/dh and dL/dW where the backward pass starts from a loss, the mean over the batch.",
        ("var of dloss/dh", "var of dloss/dW", "dloss/dW", "loss by", "loss"),
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
    Word(
        "~0%", "Share of entries whose magnitude is below 1% of the rms.", ("near zero",), "output.near_zero_fraction"
    ),
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
        ("largest", "smallest", "s^2", "s^2 mean", "largest s", "smallest s"),
    ),
    Word(
        "spread",
        "How unequal singular values are: Var(s^2) / mean(s^2)^2. It is 0 where all are equal.",
        ("spread of s^2",),
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
    Word("parameter", "A weight or bias tensor of a PyTorch model, by its name.", see=("contract",)),
    Word("as meant", "Whether a parameter agrees with the rule that a contract states for it.", see=("contract",)),
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
