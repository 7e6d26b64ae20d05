"""Mutants of losses, their roots, and curvature matrices."""

from tests.mutants.mutant import Mutant

_LOSS = "tests/fastif/losses/test_losses.py"
_OPERATORS = "tests/fastif/curvature/test_operators.py"
_EKFAC = "tests/fastif/curvature/ekfac/test_ekfac.py"
_SUMS = "tests/fastif/curvature/ekfac/test_accumulators.py"
_GROUPS = "tests/fastif/curvature/ekfac/test_parameter_groups.py"
_SAMPLED = "tests/fastif/curvature/ekfac/test_sampled_columns.py"
_DRAWN = "tests/fastif/curvature/test_sampled_ggn.py"
_TRAINED = "tests/fastif/losses/test_losses_as_trained.py"

CURVATURE = (
    Mutant(
        "softmax root without the part below its diagonal",
        "fastif/losses/softmax_sqrt_hessian.py",
        "factor = below.tril(-1)",
        "factor = below.tril(-1) * 0",
        (_LOSS,),
    ),
    Mutant(
        "softmax root scaled by what is left after the class alone",
        "fastif/losses/softmax_sqrt_hessian.py",
        "scale = (probability[:, :-1] / (remaining_mass * later_mass).clamp_min(tiny)).sqrt()",
        "scale = (probability[:, :-1] / (later_mass * later_mass).clamp_min(tiny)).sqrt()",
        (_LOSS,),
    ),
    Mutant(
        "class weights forgotten in the curvature",
        "fastif/losses/cross_entropy.py",
        "return (1 - self.label_smoothing) * target_weight + self.label_smoothing * weights.mean()",
        "return torch.ones_like(target_weight)",
        (_LOSS,),
    ),
    Mutant(
        "mass instead of its square root",
        "fastif/losses/cross_entropy.py",
        "factor * total_weight.sqrt()[:, None, None]",
        "factor * total_weight[:, None, None]",
        (_LOSS,),
    ),
    Mutant(
        "balanced weights whose mean over the rows is not one",
        "fastif/losses/cross_entropy.py",
        "len(labels) / (classes * count)",
        "len(labels) / count",
        (_LOSS,),
    ),
    Mutant(
        "binary root of probability instead of variance",
        "fastif/losses/binary_cross_entropy.py",
        "(outputs.sigmoid() * (-outputs).sigmoid() * total_weight).sqrt()",
        "(outputs.sigmoid() * total_weight).sqrt()",
        (_LOSS,),
    ),
    Mutant(
        "Gauss-Newton as a sum instead of a mean",
        "fastif/curvature/operator.py",
        "return total.div_(self.count)",
        "return total",
        (_OPERATORS,),
    ),
    Mutant(
        "damping added twice",
        "fastif/curvature/operator.py",
        "return self.operator.apply(vectors).add_(vectors, alpha=self.damping)",
        "return self.operator.apply(vectors).add_(vectors, alpha=2 * self.damping)",
        (_OPERATORS,),
    ),
    Mutant(
        "a damped sample loses its damping",
        "fastif/curvature/operator.py",
        "return DampedOperator(self.operator.sample(generator, size), self.damping)",
        "return DampedOperator(self.operator.sample(generator, size), 0.0)",
        (_OPERATORS,),
    ),
    Mutant(
        "the last piece of examples is left out",
        "fastif/curvature/operator.py",
        "return -(-self.count // self.batch_size)",
        "return max(1, self.count // self.batch_size)",
        (_OPERATORS,),
    ),
    Mutant(
        "a sample of the whole set instead of the curvature's own rows",
        "fastif/curvature/ggn.py",
        "return self._with_ids(self._ids[torch.randint(self.count, (size,), generator=generator)])",
        "return self._with_ids(torch.randint(len(self.examples), (size,), generator=generator))",
        (_OPERATORS,),
    ),
    Mutant(
        "a broken row spoils the Gauss-Newton matrix",
        "fastif/gradients/gradient_tile.py",
        "            self.gradients[nonfinite] = 0\n",
        "            pass\n",
        ("tests/fastif/solvers/test_quarantine.py", _SUMS),
    ),
    Mutant(
        "the Hessian of the sum",
        "fastif/curvature/hessian.py",
        "return total.div_(len(ids))",
        "return total",
        (_OPERATORS,),
    ),
    Mutant(
        "a Hessian over all examples instead of its own",
        "fastif/curvature/hessian.py",
        "        ids = self._ids\n        for _, batch",
        "        ids = all_ids(self.examples)\n        for _, batch",
        (_OPERATORS,),
    ),
    Mutant(
        "EK-FAC eigenvalues of K-FAC",
        "fastif/curvature/ekfac/ekfac.py",
        "            blocks[index] = replace(\n"
        "                block, eigenvalue_grid=eigenvalue_grid.to(block.eigenvalue_grid)\n"
        "            )\n",
        "",
        (_EKFAC,),
    ),
    Mutant(
        "EK-FAC corrections not divided by the examples",
        "fastif/curvature/ekfac/ekfac.py",
        'eigenvalue_grid = sums.tensors[f"{index}.values"] / sums.tensors["count"]',
        'eigenvalue_grid = sums.tensors[f"{index}.eigenvalues"]',
        (_EKFAC,),
    ),
    Mutant(
        "EK-FAC forgets the bias in its inputs",
        "fastif/curvature/ekfac/covariance_pass.py",
        "columns.append(inputs.new_ones(*inputs.shape[:-1], 1))",
        "columns.append(inputs.new_zeros(*inputs.shape[:-1], 1))",
        (_EKFAC,),
    ),
    Mutant(
        "EK-FAC squares positions before they are added up",
        "fastif/curvature/ekfac/eigenvalue_correction.py",
        "total += torch.bmm(output_chunk.mT, input_chunk).square_().sum(0)",
        "total += torch.bmm(output_chunk.square().mT, input_chunk.square()).sum(0)",
        (_EKFAC,),
    ),
    Mutant(
        "EK-FAC factors count padding",
        "fastif/curvature/ekfac/covariance_pass.py",
        "inputs = append_ones(layer.inputs[layer.reach], spec.groups[group_index])",
        "inputs = append_ones(layer.inputs.flatten(0, 1), spec.groups[group_index])",
        (_SUMS,),
    ),
    Mutant(
        "a tied layer makes a Kronecker block",
        "fastif/curvature/ekfac/parameter_groups.py",
        "    unsupported = read_graph_structure(forward_pass).unsupported_layers\n",
        "    unsupported = {}\n",
        (_GROUPS,),
    ),
    Mutant(
        "EK-FAC drops what is not negligible",
        "fastif/curvature/ekfac/kronecker.py",
        "return find_dominant_blocks(self.eigenvalue_grid >= negligible * damping)",
        "return find_dominant_blocks(self.eigenvalue_grid >= damping)",
        (_EKFAC,),
    ),
    Mutant(
        "sampled rows weighted by their probability and not by its square root",
        "fastif/curvature/sampled_ggn.py",
        "weight = (len(rows) / curvature.count / probabilities[rows]).sqrt()",
        "weight = len(rows) / curvature.count / probabilities[rows]",
        (_DRAWN,),
    ),
    Mutant(
        "uniform sampling instead of importance sampling",
        "fastif/curvature/sampled_ggn.py",
        "remaining = sizes.masked_fill(certain, 0)",
        "remaining = (squared_norms > 0).to(squared_norms).masked_fill(certain, 0)",
        (_DRAWN,),
    ),
    Mutant(
        "signs that depend on the batch",
        "fastif/curvature/ekfac/rademacher.py",
        "for example in ids.tolist()",
        "for example in range(len(ids))",
        (_SAMPLED,),
    ),
    Mutant(
        "the penalty of training is not in the curvature",
        "fastif/curvature/ggn.py",
        "return self.objective.penalty",
        "return 0.0",
        (_TRAINED, _EKFAC),
    ),
)
