"""The statistics of a layer, a tensor and a module; never the activations themselves.

The field names, joined by dots (`output.variance`), are the vocabulary of JSON, CSV and checks.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from initprobe.results.base import Finite, Histogram, ModuleKind, Percentiles, Record, Share, Status
from initprobe.results.model_theory import ModelTheory


class TensorStats(Record):
    """Statistics of one tensor of one layer, over all its entries (units and samples; all entries of a matrix).

    Moments are computed per draw and averaged over draws. All other statistics are of all draws pooled.

    Attributes:
        status: `ok`. `underflow`: values fell below the normal range of the dtype. `overflow`: they left it, as
            infinity or NaN, which differs between processors. `nonfinite`: they were computed from such values.
        mean: mean.
        variance: population variance about the mean.
        variance_sd: standard deviation (ddof 1) of the draws' variances; null for one draw.
        variance_log10: log10 of the variance; holds where the variance itself is below the float range.
        variance_by_draw: the variance in each draw.
        std: square root of `variance`.
        rms: square root of the mean square.
        min: smallest entry.
        max: largest entry.
        percentiles: percentiles, read from the fine histogram in which they were counted.
        zero_fraction: share of entries that are exactly 0.
        near_zero_fraction: share of entries within 1% of `rms` of 0.
        nonfinite_count: entries that are infinite or NaN.
        coverage: share of the entries behind extremes, percentiles, fractions and histogram; moments are of all.
        histogram: 200 equal bins from `min` to `max`.
    """

    status: Status
    mean: Finite | None
    variance: Finite | None
    variance_sd: Finite | None
    variance_log10: Finite | None
    variance_by_draw: tuple[Finite | None, ...]
    std: Finite | None
    rms: Finite | None
    min: Finite | None
    max: Finite | None
    percentiles: Percentiles | None
    zero_fraction: Share | None
    near_zero_fraction: Share | None
    nonfinite_count: Annotated[int, Field(ge=0)]
    coverage: Share
    histogram: Histogram | None


class OutputStats(TensorStats):
    """Statistics of a layer's output h.

    Attributes:
        saturated_fraction: share of entries of phi(z) in the activation's saturated band; null where it has none.
        dead_fraction: share of units that are exactly off for every sample of every batch, averaged over draws. Null
            for an activation whose units cannot die.
    """

    saturated_fraction: Share | None
    dead_fraction: Share | None


class LayerTheory(Record):
    """What mean-field theory predicts for one layer, from the weights' variance and the given input.

    Predictions of z and h are for infinite width. Gradients of plain nets are for this width, to first order.

    A number beyond the float range is null.

    Attributes:
        preactivation_variance: variance of z.
        output_variance: variance of h.
        preactivation_gradient_variance: variance of dL/dz.
        output_gradient_variance: variance of dL/dh.
        weight_gradient_variance: variance of dL/dW, summed over the samples of all batches.
        correlation: mean cosine between the z of two different inputs.
        output_spread: predicted standard deviation of `log(measured / theory)` for the output variance, a mean over the
            draws, due to finite width. Null where it is not derived.
        output_gradient_spread: the same for the variance of dL/dh.
        length_slope: slope of the length map in logs. It is the relative change of z's mean square per relative change
            at the layer below. Above 1, deviations in scale grow. Null at layer 1, and in normalised and residual nets.
        z: log of the measured output variance minus log of the predicted one, in SDs of this difference. Null where the
            SD is undefined, or where an unstable length map makes the prediction uncertain by more than chance.
        gradient_z: the same for the variance of dL/dh.
        gradient_uncertainty: factor by which the predicted variance of dL/dh may be off, beside chance. It is above 1
            where the length map is unstable. It is also above 1 under norms and skips, where a part of order
            depth/width is not derived. Networks that are drawn give a mean with an error. The SD of z contains its log.
            Null where there is none.
        weight_gradient_uncertainty: the same for the variance of dL/dW. Gradients have no prediction where it exceeds
            1,000, or 1.15 under a batch norm that is too large to be drawn.
        output_uncertainty: the same for the variance of h, where lengths or means of h are unstable, and under batch
            norm. Beyond a factor of 1,000 the predictions of a layer are null.
        output_shares: predicted share of the outputs in each bin of the output histogram; null after a skip.
    """

    preactivation_variance: Finite | None
    output_variance: Finite | None
    preactivation_gradient_variance: Finite | None
    output_gradient_variance: Finite | None
    weight_gradient_variance: Finite | None
    correlation: Finite | None
    output_spread: Finite | None
    output_gradient_spread: Finite | None
    length_slope: Finite | None
    z: Finite | None
    gradient_z: Finite | None = None
    gradient_uncertainty: Finite | None = None
    weight_gradient_uncertainty: Finite | None = None
    output_uncertainty: Finite | None = None
    output_shares: tuple[Share, ...] | None


class Fitting(Record):
    """How a layer was fitted to its input before the measurement; means over draws.

    Attributes:
        quantity: what the fit makes small, or 1, in words.
        before: of the weights as drawn.
        after: of the fitted weights.
        baseline: of the best constant instead of a reconstruction; null where nothing is reconstructed.
        iterations: steps of SGD, or the number of times the layer was scaled.
        converged: within the tolerance in each draw; null without a tolerance.
    """

    quantity: str
    before: Finite | None
    after: Finite | None
    baseline: Finite | None
    iterations: Finite
    converged: bool | None


class GateMeans(Record):
    """Means of the gates at a layer of a PyTorch model. A gate multiplies a signal by numbers from 0 to 1.

    Attributes:
        product: of the sigmoids of this layer's output that multiply another signal.
        input: of an LSTM's input gate.
        forget: of an LSTM's forget gate, the share of its memory that it keeps at a step.
        output: of an LSTM's output gate.
        reset: of a GRU's reset gate.
        update: of a GRU's update gate, the share of its state that it keeps at a step.
        memory_steps: steps over which a memory lasts: 1 / (1 - the share that is kept); null where all is kept.
    """

    product: Share | None = None
    input: Share | None = None
    forget: Share | None = None
    output: Share | None = None
    reset: Share | None = None
    update: Share | None = None
    memory_steps: Finite | None = None


class PackedPart(Record):
    """Queries, keys or values: a part of a packed weight, and of the output of its product.

    Attributes:
        weight_variance: variance of this part of W; null for a W that is computed from parameters.
        preactivation_variance: variance of this part of z.
    """

    weight_variance: Finite | None
    preactivation_variance: Finite | None


class PackedWeight(Record):
    """A weight that makes the queries, keys and values of attention in one product, or two of them.

    Attributes:
        q: the part of the queries; null where another weight makes them.
        k: the part of the keys.
        v: the part of the values; null where another weight makes them.
    """

    q: PackedPart | None = None
    k: PackedPart
    v: PackedPart | None = None


class LayerStats(Record):
    """Everything measured at one layer, with its prediction.

    Attributes:
        layer: 1 for the first.
        fan_in: inputs of a unit.
        fan_out: units.
        status: the most severe status of its tensors.
        correlation: mean cosine between the pre-activations z of two different inputs; null where undefined.
        gradient_to_weight_ratio: rms(dL/dW) / rms(W); null for all-zero weights.
        weight: W.
        preactivation: z, the input of phi: h W + b, after the norm where there is one.
        output: h = phi(z); where a residual branch ends, the branch's input plus s times its output.
        preactivation_gradient: dL/dz, before the norm's backward pass.
        output_gradient: dL/dh; N(0, 1) at the last layer by construction.
        weight_gradient: dL/dW, summed over the samples of all batches.
        theory: the prediction; null where none holds, and `ProbeResult.theory_note` says why.
        fitting: how the weights were fitted to the data; null for weights that were only drawn.
        weight_step_ratio: rms(change of W) / rms(W) in one step of an optimizer, in the first draw; null without one.
        output_step_ratio: the same of h, on the same batch.
        loss_output_gradient_variance: variance of dL/dh where L is the loss, a mean over the first batch, averaged over
            draws. Null without a loss.
        loss_weight_gradient_variance: the same of dL/dW.
        name: qualified name of the module that holds W, in a PyTorch model; null in a net of `initprobe run`.
        kind: the kind of that module; null where there is no name.
        activation: class of the module that computed h from z; null where there is none, or no name.
        bias_std: standard deviation of the biases over units, by their rule, or in the file of weights. Null where it
            is not known, as in a PyTorch model.
        inside_branch: the layer is in a residual branch of several layers, and not its last. Here h is not yet the sum.
        branch_ratio: rms(branch) / rms(stream) in a PyTorch model, where a branch that ends here is added to a residual
            stream. Of nested branches the outer one. Null elsewhere.
        gates: the means of its gates, in a PyTorch model; null where there are none.
        packed: queries, keys and values of a packed weight, in a PyTorch model; null elsewhere.
        model_theory: the prediction from the graph of operations of a PyTorch model; null elsewhere.
    """

    layer: Annotated[int, Field(ge=1)]
    fan_in: Annotated[int, Field(ge=1)]
    fan_out: Annotated[int, Field(ge=1)]
    status: Status
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    gradient_to_weight_ratio: Finite | None
    weight: TensorStats
    preactivation: TensorStats
    output: OutputStats
    preactivation_gradient: TensorStats
    output_gradient: TensorStats
    weight_gradient: TensorStats
    theory: LayerTheory | None = None
    fitting: Fitting | None = None
    weight_step_ratio: Finite | None = None
    output_step_ratio: Finite | None = None
    loss_output_gradient_variance: Finite | None = None
    loss_weight_gradient_variance: Finite | None = None
    name: str | None = None
    kind: ModuleKind | None = None
    activation: str | None = None
    bias_std: Finite | None = None
    inside_branch: bool = False
    branch_ratio: Finite | None = None
    gates: GateMeans | None = None
    packed: PackedWeight | None = None
    model_theory: ModelTheory | None = None

    def tensor(self, name: str) -> TensorStats:
        """The statistics of a tensor of `TENSORS` by name."""
        stats: TensorStats = getattr(self, name)
        return stats

    def prediction(self, tensor: str) -> tuple[float | None, float | None]:
        """What theory from the input of the net predicts for a tensor, by name.

        Returns:
            The variance, and the standard deviation of the log of the measured one; None where there is none.
        """
        if self.model_theory is not None:
            predicted = getattr(self.model_theory.end_to_end, tensor, None)
            return getattr(predicted, "variance", None), getattr(predicted, "log_sd", None)
        return getattr(self.theory, f"{tensor}_variance", None), getattr(self.theory, f"{tensor}_spread", None)


class ModuleStats(Record):
    """One call of one leaf module of a PyTorch model.

    A module may have several inputs and outputs, in the order in which they are passed. A tensor without gradient has
    null in its place. Tensors that are not floating-point are left out.

    Attributes:
        name: qualified name, as `named_modules` has it.
        call: 1 for its first call. 0 for a module that holds weights and was never called. Another module uses them.
        kind: the kind of module.
        type: its class.
        layer: the layer of `ProbeResult.layers` to which it belongs; null for none.
        fan_in: entries over which an output entry sums; null where this is undefined.
        fan_out: output entries to which an input entry contributes.
        status: the most severe status of its tensors.
        inputs: its input tensors, before an operation in place.
        outputs: its output tensors.
        input_gradients: of the loss with respect to `inputs`, summed over all their uses.
        output_gradients: of the loss with respect to `outputs`.
        weight: its weight; null without one.
        weight_gradient: summed over the samples and over all uses of the weight; null for a frozen one.
    """

    name: str
    call: Annotated[int, Field(ge=0)]
    kind: ModuleKind
    type: str
    layer: Annotated[int, Field(ge=1)] | None
    fan_in: Annotated[int, Field(ge=1)] | None
    fan_out: Annotated[int, Field(ge=1)] | None
    status: Status
    inputs: tuple[TensorStats, ...]
    outputs: tuple[TensorStats, ...]
    input_gradients: tuple[TensorStats | None, ...]
    output_gradients: tuple[TensorStats | None, ...]
    weight: TensorStats | None
    weight_gradient: TensorStats | None

    @property
    def label(self) -> str:
        """The name, numbered from the second call on: `act#2`."""
        return f"{self.name}#{self.call}" if self.call > 1 else self.name

    @property
    def input(self) -> TensorStats | None:
        """The first input."""
        return self.inputs[0] if self.inputs else None

    @property
    def output(self) -> TensorStats | None:
        """The first output."""
        return self.outputs[0] if self.outputs else None

    @property
    def input_gradient(self) -> TensorStats | None:
        """The gradient with respect to the first input."""
        return self.input_gradients[0] if self.input_gradients else None

    @property
    def output_gradient(self) -> TensorStats | None:
        """The gradient with respect to the first output."""
        return self.output_gradients[0] if self.output_gradients else None
