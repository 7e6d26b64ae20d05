"""Tiny random classifiers of any family: the default configuration with small sizes."""

import re
from collections.abc import Mapping

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

WORDS, LAYERS, WIDTH = 64, 3, 16
SIZES: tuple[tuple[str, object], ...] = (
    (r"vocab_size|n_words", WORDS),
    (r"max_position_embeddings|n_positions|max_seq_len", 64),
    (r"num_hidden_layers|n_layers?|num_(decoder_)?layers|(encoder|decoder)_layers", LAYERS),
    (r"num_key_value_heads|num_kv_heads|linear_num_.*_heads|num_query_groups", 2),
    (r".*(num_attention_heads|attention_heads|num_heads)|n_heads?|n_mamba_heads", 2),
    (r"head_dim|d_kv|d_head|kv_channels|qk_nope_head_dim|v_head_dim|attention_head_size", 8),
    (r"linear_(key|value)_head_dim|index_head_dim|query_pre_attn_scalar", 8),
    (r"attention_head_dim|mamba_headdim", 8),
    (r"qk_rope_head_dim|rotary_dim", 4),
    (r"(q|kv)_lora_rank|adapter_rank|gated_norm_rank|mamba_dt_rank|mamba_d_state", 8),
    (r".*(intermediate_size|ffn_dim|hidden_dim|ffn_hidden_size|feed_forward_size)", 24),
    (r"d_ff|dff|d_inner|n_inner|prompt_mid_dim", 24),
    (r"hidden_size|d_model|n_embd|dim|emb_dim|embedding_size|word_embed_proj_dim", WIDTH),
    (r"pooler_hidden_size|true_hidden_size|intra_bottleneck_size|d_latents", WIDTH),
    (r"(input|output)_embedding_size|prediction_head_size|attention_hidden_size", WIDTH),
    (r"(entity_emb|xpath_unit_hidden)_size|(pronunciation|shape)_embed_dim", WIDTH),
    (r"(entity|pronunciation|shape)_vocab_size|num_hash_buckets", WORDS),
    (r"num_local_experts|num_experts|n_routed_experts", 4),
    (r"num_experts_per_tok|topk_group|n_group|index_n_heads", 2),
    (r"num_self_attends_per_block|num_latents", 4),
    (r"relative_attention_num_buckets|prompt_length", 8),
)
"""Values of configuration keys, by pattern."""
DERIVED = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers", "dtype")
"""Keys that a configuration derives from others if they are left out."""
HYBRID = ["linear_attention", "full_attention", "linear_attention"]
MAMBA = ["linear_attention", "hybrid", "linear_attention", "hybrid", "linear_attention"]
ROTARY = {"rope_theta": 10000.0, "rope_type": "default"}
OWN: dict[str, dict[str, object]] = {
    "axk1": {"head_dim": 4},
    "axk2": {"head_dim": 4},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": ROTARY, "sliding_attention": ROTARY}
    },
    "deepseek_v2": {"head_dim": 4, "num_experts_per_tok": 2, "topk_group": 1, "n_group": 1},
    "deepseek_v3": {"head_dim": 4},
    "esm": {"vocab_size": WORDS, "mask_token_id": 5},
    "funnel": {"block_sizes": [2, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1], [["global"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "num_experts": 1, "moe_topk": 1},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "layoutlmv3": {"coordinate_size": 2, "shape_size": 4, "input_size": 32},
    "lilt": {"hidden_size": 24},
    "markuplm": {
        "max_xpath_tag_unit_embeddings": 16,
        "max_xpath_subs_unit_embeddings": 16,
        "tag_pad_id": 15,
        "subs_pad_id": 15,
        "max_depth": 4,
    },
    "ministral": {"head_dim": 8},
    "mistral4": {
        "head_dim": 4,
        "rope_parameters": {
            **ROTARY,
            "partial_rotary_factor": 1.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 64,
        },
    },
    "mpnet": {"relative_attention_num_buckets": 32},
    "nemotron": {"num_key_value_heads": 2},
    "qwen3_5_text": {"layer_types": HYBRID},
    "qwen3_next": {"layer_types": HYBRID},
    "reformer": {"axial_pos_shape": [8, 8], "axial_pos_embds_dim": [8, 8]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 5, "layers_block_type": MAMBA, "attention_hidden_size": 32},
    "zamba2": {
        "num_hidden_layers": 5,
        "layers_block_type": MAMBA,
        "hybrid_layer_ids": [1, 3],
        "mamba_headdim": 16,
        "attention_hidden_size": 32,
        "use_mem_eff_path": False,
    },
}
"""Further settings of a family."""


def dtype_of(family: str) -> torch.dtype:
    """Return double precision, or single precision for families that support nothing else."""
    return torch.float32 if family in ("canine", "mra") else torch.float64


def tiny_classifier(family: str) -> PreTrainedModel:
    """Return a random classifier of this family, with large weights.

    Raises:
        Exception: Any exception of the code of the family for such sizes.
    """
    torch.manual_seed(3)
    config = tiny_config(family)
    for part in (config, config.get_text_config()):
        part._experts_implementation = "eager"  # the others do not support double precision
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data += 0.2 * torch.randn_like(weight)
    return model.to(dtype_of(family)).eval()


def tiny_config(family: str) -> PreTrainedConfig:
    """Return the default configuration of a family with small sizes."""
    kind = CONFIG_MAPPING[family]
    common = {"num_labels": 3, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    common |= {"decoder_start_token_id": 2, "sep_token_id": 4}
    return kind(**{**_shrink(kind().to_dict()), **common, **OWN.get(family, {})})


def _shrink(config: Mapping[str, object]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and "model_type" in value:
            own = OWN.get(str(value["model_type"]), {})
            small = {**_shrink(value), "pad_token_id": 1, **own}
            settings[key] = {**small, "model_type": value["model_type"]}
        elif key.endswith(("token_id", "token_index")) and isinstance(value, int):
            settings[key] = min(value, WORDS - 1)
        elif isinstance(value, int) and not isinstance(value, bool):
            settings[key] = _small(key, value)
        elif value is not None and key not in DERIVED and isinstance(value, (str, float, bool)):
            settings[key] = value
    for key in ("model_type", "transformers_version"):
        settings.pop(key, None)
    return settings


def _small(key: str, value: int) -> object:
    return next((size for pattern, size in SIZES if re.fullmatch(pattern, key)), value)
