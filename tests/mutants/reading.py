"""Mutants of how a model is read: tokens, padding, precision, truncation at the frozen layers."""

from tests.mutants.mutant import Mutant

_PADDING = "tests/fastif/models/test_padding.py"
_TRANSFORMER = "tests/fastif/models/test_transformer.py"
_LAYER_SPLIT = "tests/fastif/models/test_layer_split.py"
_TEXT = "tests/fastif/data/test_tokenized_text.py"

READING = (
    Mutant(
        "the truncation omits one layer too many",
        "fastif/models/cut_check.py",
        "return next((i for i, depends in enumerate(depends_on_params) if depends), len(groups))",
        "return 1 + next((i for i, depends in enumerate(depends_on_params) if depends), "
        "len(groups))",
        (_TRANSFORMER,),
    ),
    Mutant(
        "truncation is never checked",
        "fastif/models/transformer.py",
        '''        """Undo the truncation if it changes outputs of rows together or alone."""
        if self._cut is None:''',
        '        """Undo the truncation if it changes outputs of rows together or '
        'alone."""\n        if True:',
        ("tests/fastif/models/test_cut_check.py",),
    ),
    Mutant(
        "the study's own rows are not tried",
        "fastif/models/transformer.py",
        "        for examples in tables:\n",
        "        for examples in tables[:0]:\n",
        (_PADDING,),
    ),
    Mutant(
        "padding on the right suits every model",
        "fastif/models/padding.py",
        "        if is_within_rounding(outputs, expected):\n            return candidate\n",
        "        return candidate\n",
        (_PADDING,),
    ),
    Mutant(
        "rows are padded on the right for every model",
        "fastif/models/padding.py",
        'is_token.flip(1).argmax(1) if padding.side == "left" else is_token.argmax(1)',
        "is_token.flip(1).argmax(1) if False else is_token.argmax(1)",
        (_PADDING,),
    ),
    Mutant(
        "padding keeps the tokenizer's token",
        "fastif/models/padding.py",
        'reordered["input_ids"] = ids.masked_fill(is_padding, padding.token)',
        'reordered["input_ids"] = ids',
        (_PADDING,),
    ),
    Mutant(
        "rows of unlike length share a pass of a model without padding",
        "fastif/models/padding.py",
        'if padding.side is not None or "attention_mask" not in batch:',
        "if True:",
        (_PADDING,),
    ),
    Mutant(
        "outputs by length stay in the order of lengths",
        "fastif/models/padding.py",
        "return torch.cat([run(group) for _, group in groups])[places.argsort()]",
        "return torch.cat([run(group) for _, group in groups])",
        (_PADDING,),
    ),
    Mutant(
        "the mask of texts that are padded on the left",
        "fastif/data/tokenized_text.py",
        'is_token.flip(1) if self.side == "left" else is_token',
        "is_token",
        (_PADDING, _TEXT),
    ),
    Mutant(
        "a text that just fits counts as cut",
        "fastif/data/tokenized_text.py",
        "torch.tensor([len(row) > max_length for row in rows])",
        "torch.tensor([len(row) >= max_length for row in rows])",
        (_TEXT,),
    ),
    Mutant(
        "token types are given to a model that knows one",
        "fastif/models/model_inputs.py",
        "        if SEGMENTS in accepted and num_token_types != 1\n",
        "        if SEGMENTS in accepted\n",
        (_PADDING,),
    ),
    Mutant(
        "the representation of the first token",
        "fastif/models/classifier_head.py",
        "token = (outputs - logits[:, None]).abs().sum(-1).argmin(1)",
        "token = (outputs - logits[:, None]).abs().sum(-1).argmin(1) * 0",
        (_PADDING,),
    ),
    Mutant(
        "outputs that differ by a percent are the same",
        "fastif/models/single_precision.py",
        "<= min(OUTPUT_ULPS * unit, 0.05)",
        "<= 0.05",
        (_PADDING,),
    ),
    Mutant(
        "weights of half precision are left as they are",
        "fastif/models/single_precision.py",
        "if half and len(dtypes) == 1:",
        "if len(dtypes) == 1:",
        ("tests/fastif/gradients/test_half_precision.py",),
    ),
    Mutant(
        "labels in another order than the model's",
        "fastif/models/label_names.py",
        "            if matches.get(own_label, unit) != unit\n",
        "            if False\n",
        ("tests/fastif/models/test_saved_models.py",),
    ),
    Mutant(
        "texts longer than the model's positions",
        "fastif/models/max_positions.py",
        "if longest is not None and max_length > longest:",
        "if longest is not None and max_length > 9 * longest:",
        ("tests/fastif/models/test_max_positions.py",),
    ),
    Mutant(
        "last:K takes one layer",
        "fastif/models/layer_split.py",
        "first = len(layers) - int(match[1])",
        "first = len(layers) - 1",
        (_LAYER_SPLIT,),
    ),
    Mutant(
        "the cache of hidden states keeps no budget",
        "fastif/models/prefix_cache.py",
        "if self.table.byte_count >= budget_bytes:",
        "if self.table.byte_count > 0 and not budget_bytes:",
        (_TRANSFORMER,),
    ),
)
