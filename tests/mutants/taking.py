"""Mutants of per-example gradients: forward hooks, what speaks against them, and their check."""

from tests.mutants.mutant import Mutant

_ROUTES = "tests/fastif/test_routes.py"
_COMPANY = "tests/fastif/test_company.py"
_TRIAL = "tests/fastif/test_trial.py"
_GRADIENTS = "tests/fastif/test_gradients.py"

TAKING = (
    Mutant(
        "no tile is ever checked",
        "fastif/gradients.py",
        "if not self.route.is_due(structure):",
        "if True:",
        (_ROUTES,),
    ),
    Mutant(
        "a check that fails is passed over",
        "fastif/gradients.py",
        "if compared.parameter:",
        "if False:",
        (_ROUTES,),
    ),
    Mutant(
        "only the first tile is checked",
        "fastif/route.py",
        "return self.one_by_one is None or before < FIRST or structure.moves_rows or drawn",
        "return self.one_by_one is None",
        (_ROUTES,),
    ),
    Mutant(
        "rows that the data move are checked like others",
        "fastif/route.py",
        "before < FIRST or structure.moves_rows or drawn",
        "before < FIRST or drawn",
        (_ROUTES,),
    ),
    Mutant(
        "tiles that were used unchecked are forgotten",
        "fastif/route.py",
        "if structure.signature in self._unchecked:",
        "if False:",
        (_ROUTES,),
    ),
    Mutant(
        "a single row settles that hooks are exact",
        "fastif/combination.py",
        "decisive = int((norms > 0).sum()) > 1",
        "decisive = True",
        (_ROUTES,),
    ),
    Mutant(
        "the combination weighs all rows alike",
        "fastif/combination.py",
        "return (sizes * signs).to(norms) / torch.where(norms > 0, norms, usual)",
        "return torch.ones_like(norms)",
        (_ROUTES,),
    ),
    Mutant(
        "a combination may be off by a part of the rows",
        "fastif/combination.py",
        "BLOCK, WHOLE = 1000, 100",
        "BLOCK, WHOLE = 10**7, 10**7",
        (_ROUTES,),
    ),
    Mutant(
        "what is computed in single precision is judged by weights in double",
        "fastif/alike.py",
        "max(dtypes, key=_eps, default=objective.like.dtype)",
        "objective.like.dtype",
        (_TRIAL,),
    ),
    Mutant(
        "no crowd is tried",
        "fastif/company.py",
        "return due and count > 1",
        "return False",
        (_COMPANY,),
    ),
    Mutant(
        "the rows of a table are not tried among many",
        "fastif/company.py",
        "    if count < LEAST:\n",
        "    if True:\n",
        (_COMPANY,),
    ),
    Mutant(
        "a module that keeps something is compared with itself",
        "fastif/objective.py",
        "        other.module = frozen_copy(self._unused)\n",
        "",
        (_COMPANY,),
    ),
    Mutant(
        "products that sum over the examples move no rows",
        "fastif/structure.py",
        '            self.moves_rows |= _mixes(node, name, len(self.made.batch["labels"]))\n',
        "            pass\n",
        (_ROUTES,),
    ),
    Mutant(
        "layers that see other rows than the batch's",
        "fastif/structure.py",
        "    if rows != {count}:\n",
        "    if False:\n",
        (_ROUTES,),
    ),
    Mutant(
        "parameters that act outside of their layer",
        "fastif/structure.py",
        "for layer, reason in walk.outside().items():",
        "for layer, reason in list(walk.outside().items())[:0]:",
        (_ROUTES, _GRADIENTS),
    ),
    Mutant(
        "layers with a further argument",
        "fastif/listening.py",
        "if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):",
        "if not isinstance(args[0], Tensor):",
        (_ROUTES,),
    ),
    Mutant(
        "layers with hooks of their own",
        "fastif/structure.py",
        "    if _own_hooks(call.layer):\n",
        "    if False:\n",
        (_ROUTES,),
    ),
    Mutant(
        "a subclass of a linear layer is taken for one",
        "fastif/layers.py",
        "isinstance(layer, kind) and type(layer).forward is kind.forward for kind in PLAIN",
        "isinstance(layer, kind) for kind in PLAIN",
        (_ROUTES,),
    ),
    Mutant(
        "a layer that mixes rows is mapped over examples",
        "fastif/layers.py",
        "if outputs is not None and not _alike(alone, outputs.detach()):",
        "if False:",
        (_ROUTES,),
    ),
    Mutant(
        "the bias of a linear layer at its first position",
        "fastif/layers.py",
        'blocks["bias"].copy_(delta.sum(1))',
        'blocks["bias"].copy_(delta[:, 0])',
        (_ROUTES, _GRADIENTS),
    ),
    Mutant(
        "a norm's gradient without its epsilon",
        "fastif/layers.py",
        "normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)",
        "normal = F.layer_norm(inputs, layer.normalized_shape, eps=0.0)",
        (_ROUTES, _GRADIENTS),
    ),
    Mutant(
        "the last call of a layer replaces the earlier ones",
        "fastif/collecting.py",
        "add = blocks[name].add_ if name in filled else blocks[name].copy_",
        "add = blocks[name].copy_",
        (_ROUTES, _GRADIENTS),
    ),
    Mutant(
        "parameters that were not used keep an earlier tile's gradient",
        "fastif/collecting.py",
        "            block.zero_()\n",
        "            pass\n",
        (_ROUTES, _GRADIENTS),
    ),
    Mutant(
        "modules of half precision are computed with as they are",
        "fastif/objective.py",
        "if not any(tensor.dtype in HALF for tensor in tensors):",
        "if True:",
        ("tests/fastif/test_definite.py::test_no_system_is_solved_in_half_precision",),
    ),
)
