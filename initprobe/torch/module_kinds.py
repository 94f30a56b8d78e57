"""What an operation does, by the name of the function that is called; what a module is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from initprobe.activations.catalogue import ACTIVATIONS
from initprobe.activations.record import Activation
from initprobe.results.base import ModuleKind

_MODULE_KINDS: Mapping[ModuleKind, tuple[type, ...]] = {
    "linear": (nn.Linear,),
    "convolution": (nn.modules.conv._ConvNd,),
    "normalisation": (
        nn.modules.batchnorm._NormBase,
        nn.LayerNorm,
        nn.GroupNorm,
        nn.RMSNorm,
        nn.LocalResponseNorm,
    ),
    "attention": (nn.MultiheadAttention,),
}
_NOT_ELEMENTWISE = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.AdaptiveLogSoftmaxWithLoss)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The same entries in another arrangement.
VIEWS = _names(
    "view reshape view_as reshape_as transpose permute swapaxes swapdims movedim moveaxis t T mT H mH adjoint flatten "
    "unflatten ravel squeeze unsqueeze contiguous clone alias data real requires_grad detach detach_ requires_grad_ "
    "positive channel_shuffle pixel_shuffle pixel_unshuffle roll flip fliplr flipud rot90 checkpoint_name"
)
# The same signal: other types, copies of entries, entries left out by chance, at a border or by a mask.
SAME = _names(
    "to type type_as float double half bfloat16 cpu cuda expand expand_as repeat tile repeat_interleave broadcast_to "
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout native_dropout pad "
    "constant_pad_nd masked_fill tril triu unfold fold as_strided diagonal nan_to_num interpolate upsample "
    "grid_sample meshgrid view_as_real view_as_complex unpool max_unpool2d zero resize cumsum local_response_norm"
)
# Some of the entries.
PARTS = _names(
    "getitem chunk split split_with_sizes tensor_split unbind narrow select index_select gather take_along_dim "
    "masked_select hsplit vsplit dsplit take topk sort index unsafe_chunk unsafe_split iter"
)
POOLS = _names(
    "avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d "
    "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices boolean_dispatch "
    "fractional_max_pool2d fractional_max_pool3d adaptive_max_pool2d_with_indices"
)
REDUCTIONS = _names(
    "mean sum max min amax amin var std var_mean std_mean norm vector_norm linalg_vector_norm linalg_norm logsumexp "
    "prod median nanmean nansum aminmax"
)
# Entry by entry, with a slope that is not constant.
CURVED = _names(
    "relu relu6 leaky_relu prelu rrelu elu celu selu gelu silu mish tanh sigmoid logsigmoid hardtanh hardswish "
    "hardsigmoid softplus softsign tanhshrink hardshrink softshrink threshold sin cos exp log log1p expm1 pow square "
    "sqrt rsqrt abs erf clamp clip clamp_min clamp_max reciprocal atan arctan sinh cosh sign round floor ceil "
    "frac float_power exp2 log2 log10 sinc erfc lgamma"
)
# Of these, those that are mostly steps of something else, such as the square in a norm. They get no statistics.
STEPS = _names("pow square sqrt rsqrt abs exp log log1p expm1 reciprocal sign round floor ceil float_power clamp clip")
BINARY = _names(
    "add sub subtract rsub mul multiply div divide true_divide rdiv rtruediv truediv addcmul addcdiv maximum minimum "
    "where lerp neg remainder fmod floor_divide floordiv mod atan2 hypot pow rpow radd rmul iadd isub imul itruediv "
    "copysign heaviside logaddexp bitwise_and bitwise_or"
)
PRODUCTS = _names(
    "linear matmul rmatmul mm bmm addmm addbmm baddbmm einsum tensordot inner dot mv addmv conv1d conv2d conv3d "
    "conv_transpose1d conv_transpose2d conv_transpose3d convolution bilinear embedding embedding_bag chain_matmul "
    "conv_tbc outer vdot ger grouped_mm _grouped_mm scaled_mm vecdot kron"
)
RECURRENCES = _names("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
NORMS = _names(
    "layer_norm batch_norm group_norm instance_norm rms_norm normalize native_layer_norm native_group_norm "
    "native_batch_norm sync_batch_norm"
)
SOFTMAXES = _names("softmax log_softmax softmin gumbel_softmax _softmax")
JOINS = _names("cat concat concatenate stack hstack vstack dstack column_stack row_stack block_diag")
ATTENTION = _names("scaled_dot_product_attention")
LOSSES = _names(
    "cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss smooth_l1_loss "
    "huber_loss kl_div"
)
# Made of a shape, a type or random numbers only.
CONSTANTS = _names(
    "zeros ones empty full rand randn randint arange linspace zeros_like ones_like empty_like full_like rand_like "
    "randn_like randint_like new_zeros new_ones new_empty new_full new_tensor eye tensor as_tensor bernoulli normal "
    "eq ne lt le gt ge isnan isinf isfinite logical_not logical_and logical_or logical_xor argmax argmin argsort "
    "nonzero one_hot bincount searchsorted bucketize any all multinomial randperm triu_indices tril_indices "
    "uniform_ empty_strided isin histc unique numel"
)
# Of these, what is drawn.
CHANCE = _names("rand randn bernoulli rand_like randn_like normal uniform")
# Python code whose inner calls are recorded.
COMPOSITE = _names("multi_head_attention_forward")
# Calls that return no tensor, or change none.
IGNORED = _names(
    "size dim ndimension is_floating_point is_complex is_contiguous stride storage_offset data_ptr item tolist numpy "
    "register_hook len shape dtype device ndim layout requires_grad_get is_leaf grad_fn grad is_cuda is_sparse "
    "is_quantized names element_size get_device bool int hash repr format is_tensor has_names is_nested is_meta "
    "untyped_storage storage type_get backward retain_grad _version version _backward_hooks is_inference "
    "is_same_size equal allclose is_conj is_neg is_mps is_xpu is_mkldnn is_cpu nbytes itemsize set_grad_enabled "
    "_is_view contains _flat_weights result_type is_nonzero can_cast broadcast_tensors_"
)

_BY_FUNCTION = {record.name: record for record in ACTIVATIONS.values() if record.pytorch is not None}
_DUNDERS = {"__getitem__": "getitem", "__setitem__": "setitem", "__len__": "len", "__iter__": "iter"}


def name_of(function: Any) -> str:
    """The plain name of a function: `add` of `add_`, `__add__` and `__iadd__`; `T` of `x.T`."""
    name: str = getattr(function, "__name__", "") or type(function).__name__
    if name == "__get__":
        return getattr(getattr(function, "__self__", None), "__name__", "get")
    if name in ("__set__", "__delete__"):
        return "bool"
    return _plain(name)


@lru_cache(maxsize=1024)
def handling(function: Any) -> tuple[str, str]:
    """The plain name of a function, and whether to `ignore`, `open` or `record` its calls."""
    name = name_of(function)
    if name in IGNORED:
        return name, "ignore"
    return name, "open" if name in COMPOSITE else "record"


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    if name in _DUNDERS:
        return _DUNDERS[name]
    plain = name.strip("_") if name.startswith("__") else name.rstrip("_")
    if name.startswith("__") and plain[:1] in "ri" and plain[1:] in BINARY | PRODUCTS and plain not in ("round",):
        return plain[1:]
    return plain


def activation_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation | None:
    """The record of an activation.

    Args:
        name: plain name of the function.
        args: its arguments after the tensor.
        kwargs: its keyword arguments.

    Returns:
        The record; None for a function that has none.
    """
    if name == "gelu":
        approximate = kwargs.get("approximate", args[0] if args else "none")
        return ACTIVATIONS["gelu" if approximate == "none" else "gelu_tanh"]
    if name == "prelu":
        return _prelu(args[0] if args else kwargs.get("weight"))
    record = _BY_FUNCTION.get(name)
    return None if record is None else _with_arguments(record, args, kwargs)


def _with_arguments(record: Activation, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Activation | None:
    """The record with the parameters of a call; other arguments, as `inplace`, do not change the function."""
    names = record.pytorch or {}
    numbers = [value for value in args if isinstance(value, int | float) and not isinstance(value, bool)]
    given = dict(zip(names, numbers, strict=False)) | {key: kwargs[key] for key in names if key in kwargs}
    if not given or record.make is None:
        return record
    try:
        return record.make(**{names[key]: value for key, value in given.items()})
    except Exception:  # parameters outside the range of the record, such as a slope above 1
        return None


def _prelu(weight: Any) -> Activation | None:
    """Leaky ReLU, where every channel has the same slope, as at the start; else None."""
    slopes = weight.detach()
    low, high = float(slopes.min()), float(slopes.max())
    is_one = low == high and 0 <= low <= 1
    return _with_arguments(ACTIVATIONS["leaky_relu"], (low,), {}) if is_one else None


def kind_of(module: Any) -> ModuleKind:
    """The kind of a module, by its class."""
    cls: Any = type(module)
    return _kind_of_class(cls)


@lru_cache(maxsize=1024)
def _kind_of_class(cls: type) -> ModuleKind:
    for kind, classes in _MODULE_KINDS.items():
        if issubclass(cls, classes):
            return kind
    elementwise = cls.__module__ == nn.ReLU.__module__ and not issubclass(cls, _NOT_ELEMENTWISE)
    return "activation" if elementwise else "other"
