"""Words of figures, verdicts, summaries and reports, as words of the glossary."""

from __future__ import annotations

from initprobe.reports.glossary_word import SCHOENHOLZ, Word

FIGURE_WORDS = (
    Word("Var(h)", "Variance of the output h over all units and samples, the mean over draws.", see=("var", "h")),
    Word("Var(dL/dh)", "Variance of the gradient dL/dh over all entries, the mean over draws.", see=("var", "dL/dh")),
    Word("Var(dL/dW)", "Variance of the weight gradient dL/dW over all entries.", see=("var", "dL/dW")),
    Word("Var(W)", "Variance of the weights of a layer. fan_in Var(W) decides the gain.", see=("W", "gain")),
    Word("Var(z)", "Variance of the pre-activation z over all units and samples.", see=("var", "z")),
    Word(
        "SD",
        "Standard deviation. In figures, a band shows +-1 SD over draws, or +-2 SD of the prediction at this width.",
        ("+-1 SD over draws", "theory +-2 SD", "SD over draws"),
    ),
    Word(
        "share per bin",
        "The share of all entries that lie in one bar of a histogram. A bar that is cut off is named: peak 87%.",
        ("peak",),
    ),
    Word(
        "exactly 0",
        "The share of entries that are exactly 0, such as outputs of ReLU. Their bar may be higher than the axis.",
        ("at 0",),
        "output.zero_fraction",
    ),
    Word("outside", "The share of entries beyond the ends of a histogram's axis.", ("beyond", "beyond the axis")),
    Word(
        "critical line",
        "In a phase diagram, the pairs of sigma_w and sigma_b with chi_1 = 1: the edge of chaos.",
        (),
        "",
        ("edge of chaos",),
        SCHOENHOLZ,
    ),
    Word(
        "xi_c",
        "The number of layers over which the cosine of two inputs nears its limit by a factor of e.",
        ("correlations forget",),
        "depth_scales.correlation.measured",
        ("xi",),
        SCHOENHOLZ,
    ),
    Word(
        "best constant",
        "The reconstruction loss of the best guess that ignores the data; fitted weights must stay below it.",
        ("baseline",),
        "fitting.baseline",
    ),
    Word("reconstruction loss", "Mean squared error with which fitted weights reproduce their input.", see=("fit",)),
    Word("as drawn", "The weights before they are fitted or trained.", ("new", "untrained")),
    Word("loss at the start", "The loss of the untrained network.", ("start", "loss start"), "loss.start", ("chance",)),
    Word("loss at the end", "The loss after training.", ("loss at the end of training", "end"), "training.final_loss"),
    Word("z-score", "Measured minus predicted log variance, in SDs of that difference.", ("h z-score",), "theory.z"),
    Word("dL/dh z-score", "The same as z-score, for the variance of dL/dh.", (), "theory.gradient_z"),
    Word(
        "theory for infinite width",
        "The prediction for layers of very many units. A finite network differs by about depth / width.",
        ("exact at these widths", "fixed point by theory"),
        see=("theory",),
    ),
    Word(
        "predicted rms",
        "The root mean square of the singular values of a Jacobian by theory.",
        ("median by depth", "5 to 95%", "smallest, largest"),
        see=("s", "percentiles"),
    ),
    Word(
        "spike",
        "Many entries with the same value: one high bar of a histogram. It is cut off, and its share is written.",
        see=("peak", "exactly 0"),
    ),
    Word(
        "log chi_1",
        "The colour of a phase diagram: below 0 gradients vanish (order), above 0 they explode (chaos).",
        see=("chi_1",),
    ),
    Word(
        "read-out",
        "The last layer of a network, which makes its output. Other words: output layer, head.",
        ("readout",),
    ),
    Word(
        "width^0.5",
        "A guide line in figures of `width`: what grows with the square root of the width. Level lines transfer.",
        see=("width", "transfer"),
    ),
    Word("xi_q", "The number of layers over which q nears its fixed point by a factor of e.", see=("q*",)),
    Word(
        "xi_gradient",
        "The number of layers over which the gradient's variance shrinks by e. It is negative where gradients grow.",
        see=("chi_1",),
    ),
    Word("settling", "Where q goes in a very deep net: it converges, vanishes, or diverges.", see=("q*",)),
    Word("schema", "The version of the layout of a JSON file.", ("schema_version",)),
    Word("density", "A predicted distribution, as the share in each of many equal bins.", ("shares",)),
    Word("missing", "For `diff --fail-on`: runs that only OLD or only NEW has."),
    Word("figures", "For `diff --fail-on`: the numbers that a figure shows, such as a curve of theory."),
    Word("var h last", "Variance of the output h at the last layer.", see=("var",)),
    Word("cos last", "Cosine between the z of two inputs at the last layer.", see=("cos",)),
    Word("dL/dh first", "Variance of the gradient dL/dh at the first layer.", see=("var", "dL/dh")),
)

VERDICT_WORDS = (
    Word("survives", "The verdict of a net whose findings are neither error nor warning.", ("signal survives",)),
    Word("error", "The most severe kind of finding: training is likely to fail.", ("severity",)),
    Word("warning", "A finding that may slow training down or harm it."),
    Word("info", "A finding that is no fault. It does not change the verdict."),
    Word("option", "A command that runs without a finding of kind info. A net that survives needs none.", see=("fix",)),
    Word("no fix", "The reason why no command is known that runs without the fault.", see=("fix",)),
    Word("from layer", "The first layer at which the rule of a finding holds.", (), "layer"),
    Word(
        "E[phi^2]/q",
        "Mean square of the output over that of z: what the activation keeps of the signal.",
        see=("E[phi^2]", "q"),
    ),
    Word(
        "finite width",
        "A factor beside theory: measured over predicted, since real layers are not infinitely wide.",
        ("means, finite width", "means"),
    ),
    Word(
        "infinite width",
        "The limit in which theory is exact. A finite network differs by about depth / width.",
        see=("theory",),
    ),
    Word(
        "q(1 - c)",
        "Half the mean squared distance between the z of two inputs; the difference that is left of them.",
        see=("q", "c"),
    ),
    Word("N(0,1)", "Normal distribution of mean 0 and variance 1.", ("gaussian noise",)),
    Word("unknown", "A property of your own activation that cannot be measured, such as where it saturates."),
)

SUMMARY_WORDS = (
    Word("drawn by", "The initializers that weights from a file agree with.", (), "description.rules"),
    Word(
        "sampled", "The statistics of a large tensor are those of a part of its entries. The line says of which part."
    ),
    Word("branches", "The layers inside residual branches, and what they add to the stream.", see=("branch", "stream")),
    Word("q, k, v", "The thirds of a packed attention weight: query, key and value.", ("query", "key", "value")),
    Word(
        "depth",
        "Number of layers. In a summary: the layers over which signal or gradient change by a factor of e.",
        ("layers per e-fold",),
        see=("xi",),
    ),
    Word(
        "fitted",
        "What was reached by fitting the weights to the data, for example as autoencoders.",
        see=("fit", "best constant"),
    ),
    Word("trained", "What the first steps of SGD changed.", ("training",), "training"),
    Word("note", "A further remark on the measurement.", ("notes",), "notes"),
    Word("inputs", "How alike two inputs become: the cosine between their z.", see=("cos",)),
    Word("batch", "The number of samples that pass through the network at once."),
    Word("width", "The number of units of a layer.", ("widths",)),
    Word("dtype", "The number format, such as float32. float16 overflows at 65504, bfloat16 has 3 digits."),
    Word("cross-entropy", "The loss of classification. By chance it is ln of the number of classes.", ("ce",)),
    Word("mse", "Mean squared error, a loss.", ("mean squared error",)),
    Word("teacher", "A fixed random linear function that labels noise, so that a network can learn from it."),
    Word("standardize", "Give each feature of the data mean 0 and variance 1."),
)

TABLE_WORDS = (
    Word("initializer", "The rule by which weights are drawn. `initprobe list initializers` shows all.", ("init",)),
    Word("seconds", "Time that a run took, in seconds.", ("elapsed",), "elapsed_s"),
    Word("GFLOP", "Billions of floating-point operations that a run is predicted to take.", ("flop",)),
    Word("MB", "Memory that a run is predicted to take, in megabytes."),
    Word(
        "from", "In a table of blocks: the lowest number of the layers of a block, and with `to` the highest.", ("to",)
    ),
    Word("number", "In `initprobe diff`, a number by its JSON name. In `initprobe recognize`, how many parameters."),
    Word("change", "In `initprobe diff`: how far a number moved from what it was.", ("was", "is")),
    Word("breach", "A check of a sweep file that a run does not meet.", ("breaches",)),
    Word(
        "Jacobian",
        "The derivatives of one layer's outputs by another's. Its singular values say how it stretches signals.",
        ("dh_l/dh_0", "dh_L/dh_0", "dh_l/dh_l-1", "Jacobians"),
        see=("s",),
    ),
    Word("W std", "Standard deviation of the weights of a layer.", (), "weight.std"),
    Word(
        "isometric",
        "At least 90% of the singular values lie between 0.8 and 1.25, so lengths are kept.",
        ("not isometric",),
        see=("s", "edge of chaos"),
    ),
)
