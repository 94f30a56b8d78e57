"""From where on a number is worth a word: the limits of the verdict, each with its reason."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Thresholds(BaseModel):
    """The limits that `diagnosis` judges by; `initprobe list thresholds` prints them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trend_decades: Positive = Field(
        1.5,
        description="Decades of variance that a net must gain or lose at its steady rate. One and a half are a factor "
        "of nearly 6 in scale, which a learning rate makes up for; below it nothing is said.",
    )
    grave_decades: Positive = Field(
        4.0,
        description="Decades from which a trend is an error. Four are a factor 100 in scale: beyond what one learning "
        "rate can serve.",
    )
    spread_sds: Positive = Field(
        3.0, description="Predicted standard deviations of the draws by which a trend must exceed chance."
    )
    saturated: Share = Field(
        0.5, description="Share of saturated units. Half of them: the typical unit no longer passes a gradient."
    )
    dead: Share = Field(
        0.75,
        description="Share of dead units. Correlated inputs alone switch off half of all ReLUs, and chance a few more.",
    )
    indistinct: Share = Field(
        0.05,
        description="1 less the cosine of two inputs, below which they count as one. At .05 nine tenths of what h says "
        "about an input is the same for all.",
    )
    decorrelated: Share = Field(
        0.5, description="Share of the inputs' cosine left at the last layer, where it began above .3: half of it."
    )
    tail: Positive = Field(
        300.0,
        description="rms over median of |dL/dz|. It is 1.5 for a normal distribution, and leaky ReLU of slope 0.01 "
        "alone makes up to 100.",
    )
    unstable: Positive = Field(
        10.0,
        description="Growth of a relative deviation in scale over the depth, at the steepest slope of the length map. "
        "Ten turn the few percent that chance leaves in some hundred units into tens of percent.",
    )
    mismatch: Positive = Field(
        3.0,
        description="Largest over smallest fan_in Var(W) of a net whose fan_out Var(W) is constant. Three lie well "
        "beyond what layers of similar size differ by.",
    )
    odd: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        5.0,
        description="sqrt(fan_in E[W^2]) of one module over the median of a model's. The rules in use lie within 2.5 "
        "of each other; a module below the median is named from the square of this on.",
    )
    recognised: Share = Field(
        0.05,
        description="Relative error within which a weight variance is taken for a customary rule's: several standard "
        "deviations of the variance of 100 x 100 weights.",
    )


class ModelThresholds(Thresholds):
    """The limits for models of one's own, which know norms, branches, heads and attention; `run` has none of these."""

    chain_decades: Positive = Field(
        2.0,
        description="Decades along a chain of layers without norms. VGG-16 drawn by fan_out has 1.6 over 14 layers and "
        "trains; torch's default loses 0.8 per layer with ReLU.",
    )
    step_decades: Positive = Field(
        1.5,
        description="Decades at each of two or three steps that are no trend yet: each layer a factor of 30 where "
        "torch's default with ReLU loses 6, and three such layers train.",
    )
    normed_decades: Positive = Field(
        6.0,
        description="Decades of a gradient across layers with a norm each. ReLU with batch norm has 1.46 per layer "
        "(Yang et al. 2019, arXiv:1902.08129): VGG-19 trains at 2.6 decades and MobileOne at 5.3, 50 such layers do "
        "not at 8.",
    )
    stream_decades: Positive = Field(
        3.0,
        description="Decades along a residual stream without norms. NF-RegNet has 2.1 over 10 blocks and MaxViT 1.7 "
        "over 43, and both train; branches drawn by He double it at every block.",
    )
    single: Positive = Field(
        1e3,
        description="fan_in E[W^2] of one layer. Rules in use lie between 0.05 and 2; a thousand is a factor of 30 in "
        "scale at one layer.",
    )
    killed: Share = Field(
        0.25,
        description="Share of units that their own bias alone switches off, by four standard deviations of what W "
        "makes: chance does that to 1 in 30,000.",
    )
    lost: Share = Field(
        1e-5,
        description="Mean square that one layer keeps of what it is given. A layer of one input drawn with .02 keeps "
        "4e-4 and trains.",
    )
    odd_alone: Positive = Field(
        30.0,
        description="sqrt(fan_in E[W^2]) over the median of a model for a layer without siblings of its shape. SIREN's "
        "first layer has 8.7, and squeezes drawn by fan_out have 14.",
    )
    odd_head: Positive = Field(
        50.0, description="The same for a head; that of T5 v1.1, of width 2048, has 45 and trains."
    )
    odd_norm: Positive = Field(
        10.0, description="Weight of a norm over 1, or below it. Norms are made with 1, and zeros end a branch."
    )
    norm_depth: Positive = Field(
        10.0,
        description="eps of a norm over the variance of its input. EfficientNets have up to 6 after depthwise "
        "convolutions and train; at ten a norm passes on a quarter of the scale that it should.",
    )
    logits: Positive = Field(
        4.0, description="Standard deviation of attention logits. Published nets start at 1 or less; sqrt(64) is 8."
    )
    entropy: Share = Field(
        0.5, description="Entropy of attention weights over that of equal ones; at std 1 it is .87 of 32 keys."
    )
    loss_excess: Positive = Field(
        2.0, description="Nats of cross-entropy above chance at the start: logits of variance 4 make as many."
    )
    input_rms: Positive = Field(
        10.0, description="Root mean square of an input. Standardized is 1, pixels up to 255 have 150."
    )
    shut: Share = Field(0.01, description="Mean of a gate. Highway nets start at sigmoid(-3) = .047 on purpose.")
    judged: Share = Field(
        0.95, description="Share of parameters to be judged, below which a verdict speaks of a part only."
    )
