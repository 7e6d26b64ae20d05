"""Mutants of per-example gradients: forward hooks, what speaks against them, and their check."""

from tests.mutants.mutant import Mutant

_ROUTES = "tests/fastif/gradients/test_route.py"
_KINDS = "tests/fastif/gradients/test_layer_kinds.py"
_COMPANY = "tests/fastif/models/test_cross_example_calls.py"
_TRIAL = "tests/fastif/models/test_trial.py"
_GRADIENTS = "tests/fastif/gradients/test_per_example.py"
_EXAMPLES = "tests/fastif/data/test_examples.py"

TAKING = (
    Mutant(
        "no tile is ever checked",
        "fastif/gradients/per_example.py",
        "if not self.route.is_due(structure):",
        "if True:",
        (_ROUTES,),
    ),
    Mutant(
        "a check that fails is passed over",
        "fastif/gradients/per_example.py",
        "if comparison.parameter:",
        "if False:",
        (_ROUTES,),
    ),
    Mutant(
        "only the first tile is checked",
        "fastif/gradients/route.py",
        "            or previous < ALWAYS_CHECKED_TILES\n"
        "            or structure.moves_rows\n"
        "            or sampled\n",
        "",
        (_ROUTES,),
    ),
    Mutant(
        "rows that the data move are checked like others",
        "fastif/gradients/route.py",
        "            or structure.moves_rows\n",
        "",
        (_ROUTES,),
    ),
    Mutant(
        "tiles that were used unchecked are forgotten",
        "fastif/gradients/route.py",
        "if structure.signature in self._unchecked:",
        "if False:",
        (_ROUTES,),
    ),
    Mutant(
        "a single row settles that hooks are exact",
        "fastif/gradients/combination_check.py",
        "decisive = int((norms > 0).sum()) > 1",
        "decisive = True",
        (_ROUTES,),
    ),
    Mutant(
        "the combination weighs all rows alike",
        "fastif/gradients/combination_check.py",
        "return (sizes * signs).to(norms) / torch.where(norms > 0, norms, mean_norm)",
        "return torch.ones_like(norms)",
        (_ROUTES,),
    ),
    Mutant(
        "a combination may be off by a part of the rows",
        "fastif/gradients/combination_check.py",
        "PARAMETER_ULPS, VECTOR_ULPS = 1000, 100",
        "PARAMETER_ULPS, VECTOR_ULPS = 10**7, 10**7",
        (_ROUTES,),
    ),
    Mutant(
        "single-precision outputs are compared at the tolerance of double-precision weights",
        "fastif/models/same_outputs.py",
        "max(dtypes, key=_eps, default=objective.like.dtype)",
        "objective.like.dtype",
        (_TRIAL,),
    ),
    Mutant(
        "no crowd is tried",
        "fastif/models/batch_invariance.py",
        "return due and count > 1",
        "return False",
        (_COMPANY,),
    ),
    Mutant(
        "the rows of a table are not tried among many",
        "fastif/models/batch_invariance.py",
        "    if count < MIN_TABLE_ROWS:\n",
        "    if True:\n",
        (_COMPANY,),
    ),
    Mutant(
        "a module that keeps something is compared with itself",
        "fastif/models/objective.py",
        "        other.module = frozen_copy(self._unused)\n",
        "",
        (_COMPANY,),
    ),
    Mutant(
        "products that sum over the examples move no rows",
        "fastif/gradients/reordering.py",
        "        return _may_mix_examples(node, name, count)\n",
        "        return False\n",
        (_ROUTES,),
    ),
    Mutant(
        "the axis of the examples stays the first",
        "fastif/gradients/reordering.py",
        "        return _may_move_axis(node, name, count)\n",
        "        return False\n",
        (_ROUTES,),
    ),
    Mutant(
        "examples that are taken apart keep their order",
        "fastif/gradients/reordering.py",
        "name in REORDER_OPERATIONS or _may_split_examples(node, count)",
        "name in REORDER_OPERATIONS",
        (_ROUTES,),
    ),
    Mutant(
        "axes are never counted from behind",
        "fastif/gradients/reordering.py",
        "    return axis + width if axis < 0 else axis\n",
        "    return axis\n",
        (_ROUTES,),
    ),
    Mutant(
        "layers that see other rows than the batch's",
        "fastif/gradients/graph_structure.py",
        "    if rows != {count}:\n",
        "    if False:\n",
        (_KINDS,),
    ),
    Mutant(
        "parameters that act outside of their layer",
        "fastif/gradients/graph_structure.py",
        "for layer, reason in walk.find_params_used_outside().items():",
        "for layer, reason in list(walk.find_params_used_outside().items())[:0]:",
        (_ROUTES, _GRADIENTS),
    ),
    Mutant(
        "layers with a further argument",
        "fastif/gradients/hooks.py",
        "if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):",
        "if not isinstance(args[0], Tensor):",
        (_KINDS,),
    ),
    Mutant(
        "layers with hooks of their own",
        "fastif/gradients/graph_structure.py",
        "    if _has_foreign_hooks(call.layer):\n",
        "    if False:\n",
        (_ROUTES,),
    ),
    Mutant(
        "a subclass of a linear layer is taken for one",
        "fastif/gradients/layer_factors.py",
        "isinstance(layer, kind) and type(layer).forward is kind.forward",
        "isinstance(layer, kind)",
        (_KINDS,),
    ),
    Mutant(
        "a layer that mixes rows is mapped over examples",
        "fastif/gradients/layer_rules.py",
        "if outputs is not None and not _agrees_within_rounding(example_outputs, "
        "outputs.detach()):",
        "if False:",
        (_KINDS,),
    ),
    Mutant(
        "the bias of a linear layer at its first position",
        "fastif/gradients/layer_rules.py",
        'blocks["bias"].copy_(deltas.sum(2).transpose(0, 1).flatten(1))',
        'blocks["bias"].copy_(deltas[:, :, 0].transpose(0, 1).flatten(1))',
        (_KINDS, _GRADIENTS),
    ),
    Mutant(
        "a norm's gradient without its epsilon",
        "fastif/gradients/layer_rules.py",
        "normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)",
        "normal = F.layer_norm(inputs, layer.normalized_shape, eps=0.0)",
        (_KINDS, _GRADIENTS),
    ),
    Mutant(
        "the last call of a layer replaces the earlier ones",
        "fastif/gradients/row_assembly.py",
        "add = block[part].add_ if position else block[part].copy_",
        "add = block[part].copy_",
        (_KINDS, _GRADIENTS),
    ),
    Mutant(
        "parameters that were not used keep an earlier tile's gradient",
        "fastif/gradients/row_assembly.py",
        "            block.zero_()\n",
        "            pass\n",
        (_KINDS, _GRADIENTS),
    ),
    Mutant(
        "modules of half precision are computed with as they are",
        "fastif/models/objective.py",
        "if not any(tensor.dtype in HALF for tensor in tensors):",
        "if True:",
        ("tests/fastif/solvers/test_definiteness.py::test_half_precision_is_refused",),
    ),
    Mutant(
        "who wraps a table forgets its batch size",
        "fastif/data/examples.py",
        "self.examples, self.batch_size = examples, examples.batch_size",
        "self.examples, self.batch_size = examples, BATCH_SIZE",
        (_EXAMPLES,),
    ),
    Mutant(
        "batches of as many examples as there are",
        "fastif/data/examples.py",
        "size = self.batch_size if size is None else size",
        "size = len(self) if size is None else size",
        (_EXAMPLES,),
    ),
    Mutant(
        "a curvature in batches of its own size",
        "fastif/curvature/ggn.py",
        'object.__setattr__(self, "batch_size", self.examples.batch_size)',
        'object.__setattr__(self, "batch_size", 5)',
        (_EXAMPLES,),
    ),
    Mutant(
        "sizes that were chosen do not reach the tables",
        "tasks/run/members.py",
        "texts.with_batch_size(size) for name",
        "texts for name",
        ("tests/tasks/planning/test_batch_sizing.py",),
    ),
)
