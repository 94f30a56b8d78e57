"""Small members of timm's families, at small images where they allow it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zoo_entry import Entry, images
from zoo_libraries import timm

# name, side of the images, samples, whether the model takes `img_size`
CONVOLUTIONAL = [
    "bat_resnext26ts:256:4", "cs3darknet_focus_s", "cspresnet50", "convmixer_768_32:64:4", "convnext_atto",
    "convnextv2_atto", "darknet53", "densenet121", "dla34", "dpn48b", "ecaresnet26t", "edgenext_xx_small",
    "efficientnet_b0", "ese_vovnet19b_slim_dw", "fasternet_t0", "fbnetv3_b", "gernet_s", "ghostnet_050",
    "hardcorenas_a", "hgnetv2_b0", "hrnet_w18_small", "inception_next_atto", "inception_v3:128:8",
    "inception_v4:128:8", "lcnet_050", "legacy_seresnet18", "legacy_xception:128:8", "mambaout_femto", "mixnet_s",
    "mnasnet_small", "mobilenetv1_100", "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small_050",
    "mobileone_s0", "nf_regnet_b0", "nf_resnet26", "nfnet_l0", "poolformer_s12", "regnetx_002", "regnety_002",
    "repghostnet_050", "repvgg_a0", "repvit_m0_9", "res2net50_14w_8s", "resnest14d", "resnet18", "resnet50",
    "resnet50_gn", "resnetv2_18", "resnetv2_50x1_bit", "resnext50_32x4d", "rexnet_100", "selecsls42",
    "semnasnet_050", "skresnet18", "starnet_s1", "tf_efficientnetv2_b0", "tinynet_e", "tresnet_m", "vgg11",
    "vgg16", "vgg11_bn", "xception41:128:8",
]  # fmt: skip
ATTENDING = [
    "beit_base_patch16_224:64:2:s", "botnet26t_256:256:2", "cait_xxs24_224:64:2:s", "caformer_s18:64:2",
    "coat_lite_tiny:64:2:s", "coatnet_pico_rw_224:64:2:s", "convit_tiny:64:2:s", "crossvit_tiny_240:240:1",
    "davit_tiny:64:2", "deit3_small_patch16_224:64:2:s", "deit_tiny_patch16_224:64:2:s", "efficientformer_l1:224:1",
    "efficientvit_b0:64:4", "efficientvit_m0:224:2", "eva02_tiny_patch14_224:56:2:s", "fastvit_t8:64:4",
    "focalnet_tiny_srf:64:2", "gcvit_xxtiny:224:1", "gmlp_ti16_224:64:4:s", "hiera_tiny_224:224:1", "levit_128s:224:2",
    "maxvit_pico_rw_256:256:1", "mixer_s32_224:64:4:s", "mobilevit_xxs:64:4", "mobilevitv2_050:64:4",
    "mvitv2_tiny:64:2:s", "nest_tiny:224:1", "pit_ti_224:64:2:s", "pvt_v2_b0:64:4", "resmlp_12_224:64:4:s",
    "sequencer2d_s:64:2:s", "shvit_s1:128:4", "swiftformer_xs:64:4", "swin_tiny_patch4_window7_224:64:2:s",
    "swinv2_tiny_window8_256:64:2:s", "tiny_vit_5m_224:224:2", "tnt_s_patch16_224:64:2:s", "twins_svt_small:64:2:s",
    "visformer_tiny:64:4:s", "vit_relpos_small_patch16_224:64:2:s", "vit_tiny_patch16_224:64:2:s",
    "volo_d1_224:64:1:s", "xcit_nano_12_p16_224:64:4:s",
]  # fmt: skip


def entries() -> Iterator[Entry]:
    """Every chosen family."""
    for text in (*CONVOLUTIONAL, *ATTENDING):
        name, side, batch, sized = (*text.split(":"), "", "", "")[:4]
        yield Entry(name, "timm", _maker(name, int(side or 64), sized), images(int(batch or 8), int(side or 64)))


def _maker(name: str, side: int, sized: str) -> Any:
    options: dict[str, Any] = {"num_classes": 100} | ({"img_size": side} if sized else {})
    return lambda: timm().create_model(name, pretrained=False, **options)
