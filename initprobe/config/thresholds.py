"""Thresholds of the verdict, with the reason for each default."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Thresholds(BaseModel):
    """The limits that the rules of the verdict compare with; `initprobe list thresholds` prints them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trend_decades: Positive = Field(
        1.5,
        description="Decades of variance that a net must gain or lose at its steady rate. 1.5 decades are a factor of "
        "nearly 6 in scale, which a learning rate can make up for.",
    )
    grave_decades: Positive = Field(
        4.0,
        description="Decades from which a trend is an error. Four are a factor of 100 in scale. A signal that grows so "
        "much needs a learning rate 10,000 times smaller. No rate makes up for one that shrinks so much.",
    )
    spread_sds: Positive = Field(
        3.0, description="Number of predicted standard deviations of the draws by which a trend must exceed chance."
    )
    saturated: Share = Field(
        0.5,
        description="Share of saturated units. From one half on, the typical unit passes almost no gradient. Half "
        "of all ReLUs are off too. So the limit is (1 + saturated) / 2 where only the lower end is flat, as with ELU.",
    )
    dead: Share = Field(
        0.75,
        description="Share of dead units. Correlated inputs alone make half of all ReLUs dead, and chance a few more.",
    )
    indistinct: Share = Field(
        0.05,
        description="1 minus the cosine of two inputs, below which they count as the same. At 0.05, nearly all of h is "
        "the same for all inputs.",
    )
    decorrelated: Share = Field(
        0.5, description="Share of the inputs' cosine left at the last layer, if the cosine of the inputs is above 0.3."
    )
    tail: Positive = Field(
        300.0,
        description="Root mean square over median of |dL/dz|. It is 1.5 for a normal distribution, and up to 100 for a "
        "leaky ReLU of slope 0.01.",
    )
    unstable: Positive = Field(
        10.0,
        description="Growth of a relative deviation in scale over the depth, at the steepest slope of the length map. "
        "A growth of 10 makes tens of percent of the few percent by which some hundred units deviate by chance.",
    )
    mismatch: Positive = Field(
        3.0,
        description="Largest over smallest fan_in Var(W) of a net whose fan_out Var(W) is constant. Layers of similar "
        "size differ by much less than 3.",
    )
    odd: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        5.0,
        description="sqrt(fan_in E[W^2]) of one module over the median of the model. The rules in use lie within a "
        "factor of 2.5 of each other. Below the median, the square of this limit applies.",
    )
    recognised: Share = Field(
        0.05,
        description="Relative error within which a weight variance counts as that of a known rule. It is several "
        "standard deviations of the variance of 100 x 100 weights.",
    )


class ModelThresholds(Thresholds):
    """The limits for PyTorch models of the user's own, which have norms, branches, heads and attention."""

    chain_decades: Positive = Field(
        2.0,
        description="Decades along a chain of layers without norms. VGG-16 drawn by fan_out has 1.6 over 14 layers and "
        "trains. The default of torch loses 0.8 per layer with ReLU.",
    )
    torch_draw_decades: Positive = Field(
        4.0,
        description="The same, where weights and biases are as torch draws them. torchvision's AlexNet has 3.9 back "
        "over six layers and trains from them.",
    )
    spectral_decades: Positive = Field(
        5.0,
        description="The same under spectral norm, which nothing can rescale. The critic of SN-GAN has 4.5 over seven "
        "convolutions and trains (Miyato et al. 2018, arXiv:1802.05957).",
    )
    step_decades: Positive = Field(
        1.5,
        description="Decades at each of two or three steps, too few for a trend. 1.5 are a factor of 30 in variance "
        "per layer. The default of torch with ReLU loses a factor of 6, and three such layers train.",
    )
    normed_decades: Positive = Field(
        6.0,
        description="Decades of the gradient across layers with a norm each. ReLU with batch norm has 1.46 per layer "
        "(Yang et al. 2019, arXiv:1902.08129). VGG-19 trains at 2.6 decades and MobileOne at 5.3. 50 such layers "
        "at 8 decades do not.",
    )
    stream_decades: Positive = Field(
        3.0,
        description="Decades along a residual stream without norms. NF-RegNet has 2.1 over 10 blocks and MaxViT 1.7 "
        "over 43, and both train. Branches drawn by He's rule double the variance at every block.",
    )
    single: Positive = Field(
        1e3,
        description="fan_in E[W^2] of one layer. Rules in use lie between 0.05 and 2; 1000 is a factor of 30 in scale "
        "at one layer.",
    )
    killed: Share = Field(
        0.25,
        description="Share of units that their bias alone switches off, below -4 standard deviations of W h. By chance "
        "this holds for 1 unit in 30,000.",
    )
    lost: Share = Field(
        1e-5,
        description="Mean square of a layer's output over that of its input. A layer of one input drawn with std 0.02 "
        "has 4e-4 and trains.",
    )
    odd_alone: Positive = Field(
        30.0,
        description="sqrt(fan_in E[W^2]) over the median of the model, for a layer that no other has the shape of. The "
        "first layer of SIREN has 8.7, and squeeze layers drawn by fan_out have 14.",
    )
    odd_head: Positive = Field(
        50.0, description="The same for a head. The head of T5 v1.1, of width 2048, has 45 and trains."
    )
    odd_norm: Positive = Field(
        10.0,
        description="Factor by which the weight of a norm differs from 1. Norms start with 1, or with 0 at the end of "
        "a branch.",
    )
    norm_depth: Positive = Field(
        10.0,
        description="eps of a norm over the variance of its input. EfficientNets have up to 6 after depthwise "
        "convolutions and train. At 10 the output of the norm has 0.3 of its proper scale.",
    )
    logits: Positive = Field(
        4.0,
        description="Standard deviation of attention logits. Published nets start at 1 or less. Without the scale "
        "1/sqrt(64) it is 8.",
    )
    entropy: Share = Field(
        0.5,
        description="Entropy of attention weights over that of equal weights. With logits of std 1 and 32 keys it is "
        "0.87.",
    )
    loss_excess: Positive = Field(
        2.0, description="Nats of cross-entropy above chance at the start, as logits of variance 4 give."
    )
    input_rms: Positive = Field(
        10.0, description="Root mean square of an input. Standardized input has 1, pixels from 0 to 255 have 150."
    )
    shut: Share = Field(
        0.01,
        description="Mean of a gate, below which it is shut. Highway nets start at sigmoid(-3) = 0.047 on purpose.",
    )
    judged: Share = Field(
        0.95,
        description="Share of parameters that were judged, below which the verdict is about a part of the model only.",
    )
