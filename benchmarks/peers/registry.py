"""Registry of the peers and their settings."""

from dataclasses import replace

from benchmarks.peers.peer import Peer

_LAYER_NORM = "its EK-FAC supports linear layers only, not the LayerNorm of the model"
_SEQUENCES = "its EK-FAC ends in an UnboundLocalError on inputs with a sequence axis"
_ALONE = (
    "it solves each query separately, {products} Hessian products for 100 queries: six minutes on"
    " two cores leave a Hessian of some 20 rows"
)
_TWICE = "equal to {other}, for several times the work"

_OWN = [
    Peer(
        "kronfluence EK-FAC",
        "kronfluence",
        "kronfluence:ekfac",
        "true Fisher of sampled labels over all {rows} rows, damping {damping}"
        " (None: its rule of 0.1 x the mean eigenvalue of each layer)",
        {"damping": None},
    ),
    Peer(
        "dattri CG",
        "dattri",
        "dattri:cg",
        "{steps} conjugate gradient steps on the Hessian of {rows} rows, regularisation {damping}"
        " (its own example for LDS on MNIST but for the rows)",
        {"rows": 1000, "damping": 5e-3, "steps": 10},
        _ALONE.format(products="1,100"),
    ),
    Peer(
        "dattri LiSSA",
        "dattri",
        "dattri:lissa",
        "depth {depth}, batches of {batch}, scaling {scale}, no damping (its own benchmark)",
        {"depth": 100, "batch": 100, "scale": 50.0},
        "it solves each query separately: 10,000 Hessian products of ten rows take over an hour",
    ),
    Peer(
        "dattri DataInf",
        "dattri",
        "dattri:datainf",
        "layer by layer over {rows} rows, regularisation {damping} (its own examples)",
        {"rows": 500, "damping": 1e-2},
        {"rows": 100},
    ),
    Peer(
        "dattri EK-FAC",
        "dattri",
        "dattri:ekfac",
        "empirical Fisher over all {rows} rows, damping {damping}",
        {"damping": 1e-2},
        _SEQUENCES,
    ),
    Peer(
        "dattri TRAK",
        "dattri",
        "dattri:trak",
        "one model, {width} projections",
        {"width": 512},
        _TWICE.format(other="TRAK of traker but for the random projection"),
    ),
    Peer(
        "dattri TracIn",
        "dattri",
        "dattri:tracin",
        "final weights, no projection: the gradient product",
        {"normalized": False},
        _TWICE.format(other="TracInCP of captum"),
    ),
    Peer(
        "dattri Grad-Cos",
        "dattri",
        "dattri:tracin",
        "final weights, no projection: the gradient cosine",
        {"normalized": True},
        _TWICE.format(other="the gradient cosine among the baselines"),
    ),
    Peer(
        "captum TracInCPFast",
        "captum",
        "captum:tracin_fast",
        "final weights, last linear layer",
    ),
    Peer(
        "captum TracInCP",
        "captum",
        "captum:tracin",
        "final weights, all attributed parameters: the gradient product",
    ),
    Peer(
        "captum Arnoldi",
        "captum",
        "captum:arnoldi",
        "Hessian summed over {rows} rows, Krylov space of {krylov}, {rank} eigenvalues kept,"
        " regularisation {damping} (its defaults but for the rows)",
        {"rows": 1000, "krylov": 200, "rank": 50, "damping": 1e-3},
        {"rows": 100, "krylov": 100},
    ),
    Peer(
        "pyDVL Nystroem",
        "pyDVL",
        "pydvl:nystroem",
        "rank {rank} sketch of the Hessian of {rows} rows, regularisation {damping}",
        {"rows": None, "rank": 100, "damping": 1e-2},
        {"rows": 200},
    ),
    Peer(
        "pyDVL EK-FAC",
        "pyDVL",
        "pydvl:ekfac",
        "eigenvalues refitted, over all {rows} rows, regularisation {damping}",
        {"damping": 1e-2},
        _LAYER_NORM,
    ),
    Peer(
        "pyDVL CG",
        "pyDVL",
        "pydvl:cg",
        "at most {steps} steps on the Hessian of {rows} rows, regularisation {damping}",
        {"rows": 500, "damping": 1e-2, "steps": 10},
        _ALONE.format(products="1,000"),
    ),
    Peer(
        "traker TRAK",
        "traker",
        "traker:trak",
        "one model, {width} projections, single precision",
        {"width": 512},
    ),
]


def _make_variant(name: str, option: str, *values: float) -> list[Peer]:
    """Return a peer with other values of one option, so that the best of a grid is shown."""
    peer = next(peer for peer in _OWN if peer.name == name)
    return [
        replace(
            peer,
            name=f"{name}, {option} {value:g}",
            options={**peer.options, option: value},
            grid=name,
        )
        for value in values
    ]


_GRID = [
    *_make_variant("kronfluence EK-FAC", "damping", 1e-8, 1e-3, 1e-2),
    *_make_variant("dattri CG", "damping", 1e-3, 1e-1),
    *_make_variant("dattri DataInf", "damping", 1e-3, 1e-1),
    *_make_variant("dattri EK-FAC", "damping", 1e-3, 1e-1),
    *_make_variant("dattri LiSSA", "batch", 10),
    *_make_variant("captum Arnoldi", "damping", 1.0),
    *_make_variant("pyDVL Nystroem", "damping", 1e-3, 1e-1),
    *_make_variant("pyDVL EK-FAC", "damping", 1e-3, 1e-1),
    *_make_variant("pyDVL CG", "damping", 1e-3, 1e-1),
]

PEERS: dict[str, Peer] = {peer.name: peer for peer in (*_OWN, *_GRID)}
"""Peers by name: first with recommended settings, then the grid."""
