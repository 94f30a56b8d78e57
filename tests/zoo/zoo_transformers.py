"""Families of transformers, each from a small configuration of its real structure, and two of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from zoo_entry import Entry, ids, images, steps
from zoo_libraries import diffusers, transformers

VOCABULARY = 500
WORDS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
GROUPED = SMALL | {"num_key_value_heads": 2}
MODEL = {"d_model": 128, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}  # fmt: skip
T5 = {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 3, "num_heads": 4}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

# family, class that is made from the configuration, configuration
ENCODERS = [
    ("bert", SMALL),
    ("roberta", SMALL),
    ("electra", SMALL | {"embedding_size": 64}),
    ("albert", SMALL | {"embedding_size": 64}),
    ("distilbert", {"dim": 128, "n_layers": 4, "n_heads": 4, "hidden_dim": 256}),
    ("deberta-v2", SMALL),
    ("mpnet", SMALL),
    ("modernbert", SMALL),
    ("fnet", SMALL),
    ("nystromformer", SMALL),
    ("roformer", SMALL),
    ("convbert", SMALL),
    ("squeezebert", SMALL | {"embedding_size": 128}),
    ("megatron-bert", SMALL),
    ("layoutlm", SMALL),
    ("esm", SMALL),
    ("ernie", SMALL),
    ("xmod", SMALL | {"languages": ["en_XX"], "default_language": "en_XX"}),
    ("splinter", SMALL),
    ("rembert", SMALL),
]
CAUSAL = [
    ("gpt2", {"n_embd": 128, "n_layer": 4, "n_head": 4}),
    ("gpt_neo", {"hidden_size": 128, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]}),
    ("gpt_neox", SMALL),
    ("gptj", {"n_embd": 128, "n_layer": 4, "n_head": 4, "rotary_dim": 16}),
    ("gpt_bigcode", {"n_embd": 128, "n_layer": 4, "n_head": 4}),
    ("opt", SMALL | {"ffn_dim": 256, "word_embed_proj_dim": 128}),
    ("bloom", {"hidden_size": 128, "n_layer": 4, "n_head": 4}),
    ("llama", GROUPED),
    ("mistral", GROUPED),
    ("qwen2", GROUPED),
    ("qwen3", GROUPED | {"head_dim": 32}),
    ("gemma", GROUPED | {"head_dim": 32}),
    ("gemma2", GROUPED | {"head_dim": 32}),
    ("gemma3_text", GROUPED | {"head_dim": 32}),
    ("phi", SMALL),
    ("phi3", GROUPED),
    ("olmo2", GROUPED),
    ("stablelm", GROUPED),
    ("starcoder2", GROUPED),
    ("cohere", GROUPED),
    ("falcon", SMALL | {"num_kv_heads": 4}),
    ("persimmon", SMALL),
    ("codegen", {"n_embd": 128, "n_layer": 4, "n_head": 4, "rotary_dim": 16}),
    ("mixtral", GROUPED | EXPERTS),
    (
        "qwen2_moe",
        GROUPED
        | {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 128,
        },
    ),
    ("olmoe", GROUPED | {"num_experts": 4, "num_experts_per_tok": 2}),
    ("mamba", {"hidden_size": 128, "num_hidden_layers": 4, "state_size": 8}),
    ("rwkv", {"hidden_size": 128, "num_hidden_layers": 4, "attention_hidden_size": 128, "intermediate_size": 256}),
    ("biogpt", SMALL),
    ("xglm", {"d_model": 128, "num_layers": 4, "attention_heads": 4, "ffn_dim": 256}),
    ("granite", GROUPED),
    ("smollm3", GROUPED),
    ("glm", GROUPED | {"head_dim": 32}),
    ("nemotron", GROUPED),
    ("ctrl", {"n_embd": 128, "n_layer": 4, "n_head": 4, "dff": 256}),
    ("openai-gpt", {"n_embd": 128, "n_layer": 4, "n_head": 4}),
    ("xlnet", {"d_model": 128, "n_layer": 4, "n_head": 4, "d_inner": 256}),
    ("recurrent_gemma", GROUPED | {"lru_width": 128, "num_hidden_layers": 6}),
    (
        "deepseek_v3",
        GROUPED
        | {
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "q_lora_rank": 64,
            "kv_lora_rank": 32,
            "qk_rope_head_dim": 16,
            "qk_nope_head_dim": 16,
            "v_head_dim": 32,
            "first_k_dense_replace": 1,
        },
    ),
    ("gpt_oss", GROUPED | EXPERTS | {"head_dim": 32}),
    ("exaone4", GROUPED),
    ("xlstm", {"hidden_size": 128, "num_blocks": 4, "num_heads": 4}),
]
BOTH = [
    ("t5", T5),
    ("umt5", T5),
    ("longt5", T5),
    ("switch_transformers", T5 | {"num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}),
    ("bart", MODEL),
    ("mbart", MODEL),
    ("pegasus", MODEL),
    ("marian", MODEL | {"decoder_start_token_id": 0}),
    ("blenderbot", MODEL),
    ("m2m_100", MODEL),
    (
        "prophetnet",
        {
            "hidden_size": 128,
            "num_encoder_layers": 3,
            "num_decoder_layers": 3,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "encoder_ffn_dim": 256,
            "decoder_ffn_dim": 256,
        },
    ),
]
IMAGE = {"image_size": 64, "patch_size": 8}
SEEING = [
    ("vit", SMALL | IMAGE, 64),
    ("deit", SMALL | IMAGE, 64),
    ("beit", SMALL | IMAGE, 64),
    ("dinov2", {k: v for k, v in SMALL.items() if k != "intermediate_size"} | IMAGE, 64),
    ("swin", {"image_size": 64, "embed_dim": 32, "depths": [2, 2, 2], "num_heads": [2, 4, 8], "window_size": 4}, 64),
    ("convnext", {"hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 4, 2]}, 64),
    ("resnet", {"embedding_size": 32, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}, 64),
    ("segformer", {"hidden_sizes": [32, 64, 128, 128]}, 64),
    ("poolformer", {}, 64),
    ("siglip_vision_model", SMALL | IMAGE, 64),
    ("clip_vision_model", SMALL | IMAGE, 64),
    ("vit_mae", SMALL | IMAGE | {"mask_ratio": 0.0}, 64),
    ("levit", {"image_size": 224}, 224),
    ("yolos", SMALL | {"image_size": [64, 64], "patch_size": 8, "num_detection_tokens": 10}, 64),
    (
        "regnet",
        {"embedding_size": 32, "hidden_sizes": [32, 64, 96, 128], "depths": [1, 1, 2, 1], "groups_width": 16},
        64,
    ),
    ("mobilenet_v2", {"image_size": 64}, 64),
    ("focalnet", {"image_size": 64, "embed_dim": 32}, 64),
]


def entries() -> Iterator[Entry]:
    """Every chosen family."""
    for name, fields in ENCODERS:
        yield _entry(name, "AutoModel", WORDS | fields, ids())
    for name, fields in CAUSAL:
        yield _entry(name, "AutoModelForCausalLM", WORDS | fields | {"use_cache": False}, ids())
    for name, fields in BOTH:
        yield _entry(name, "AutoModelForSeq2SeqLM", WORDS | fields | {"use_cache": False}, _both)
    for name, fields, side in SEEING:
        yield _entry(name, "AutoModel", fields, images(8, side))
    yield from _hearing()
    yield from _other()
    yield Entry("diffusers UNet2D", "diffusers", _unet, lambda: (torch.randn(2, 3, 32, 32), torch.tensor(10)))
    yield Entry("diffusers AutoencoderKL", "diffusers", _autoencoder, images(2, 32))
    yield Entry("diffusers DiT", "diffusers", _dit, _noised)


def _entry(name: str, kind: str, fields: dict[str, Any], given: Callable[[], Any]) -> Entry:
    def make() -> Any:
        library = transformers()
        return getattr(library, kind).from_config(library.AutoConfig.for_model(name, **fields)).train()

    return Entry(f"hf {name}", "transformers", make, given)


def _both() -> dict[str, Any]:
    return {"input_ids": ids()(), "decoder_input_ids": ids()()}


def _hearing() -> Iterator[Entry]:
    """Models of sound, from raw samples or from spectrograms."""
    convolutions = {"conv_dim": (64, 64, 64), "conv_stride": (5, 4, 2), "conv_kernel": (10, 8, 4),
                    "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
                    "apply_spec_augment": False, "layerdrop": 0.0}  # fmt: skip
    for name in ("wav2vec2", "hubert", "wavlm"):
        yield _entry(name, "AutoModel", SMALL | convolutions, lambda: torch.randn(2, 4000))
    whisper = {"num_mel_bins": 80, "max_source_positions": 50, "vocab_size": VOCABULARY, "pad_token_id": 0,
               "decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "use_cache": False}  # fmt: skip
    spoken = lambda: {"input_features": torch.randn(2, 80, 100), "decoder_input_ids": ids(2)()}  # noqa: E731
    yield _entry("whisper", "AutoModelForSpeechSeq2Seq", MODEL | whisper, spoken)
    spectrogram = {"max_length": 64, "num_mel_bins": 32}
    yield _entry("audio-spectrogram-transformer", "AutoModel", SMALL | spectrogram, steps(4, 64, 32))


def _other() -> Iterator[Entry]:
    """Two towers, and agents."""
    text, vision = SMALL | {"vocab_size": VOCABULARY, "eos_token_id": 2}, SMALL | IMAGE
    pair = lambda: {"input_ids": ids()(), "pixel_values": torch.randn(4, 3, 64, 64)}  # noqa: E731
    for name in ("clip", "siglip"):
        yield _entry(name, "AutoModel", {"text_config": text, "vision_config": vision}, pair)
    yield _entry("perceiver", "AutoModel", {"d_latents": 128, "num_latents": 32, "d_model": 64, "num_blocks": 1,
                 "num_self_attends_per_block": 4, "num_cross_attention_heads": 4, "num_self_attention_heads": 4},
                 steps())  # fmt: skip


def _unet() -> Any:
    return diffusers().UNet2DModel(
        sample_size=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def _autoencoder() -> Any:
    return diffusers().AutoencoderKL(
        block_out_channels=(32, 64), norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def _dit() -> Any:
    return diffusers().DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=32, num_layers=4, sample_size=16, num_embeds_ada_norm=100
    )


def _noised() -> dict[str, Any]:
    noise = torch.randn(2, 4, 16, 16)
    return {"hidden_states": noise, "timestep": torch.tensor([10, 20]), "class_labels": torch.tensor([1, 2])}
