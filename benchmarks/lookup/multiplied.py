"""Training tables of any size: sketches drawn around those of a real study, in files.

A drawn sketch is one real sketch plus half the difference of two others, in half precision. The
training rows of the answers are the real ones, repeated.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fastif.candidates.head_index import HeadIndex
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from fastif.numerics.out_of_memory import release_to_os
from tasks.data.dataset import Table
from tasks.run.row_chunks import map_chunk
from tasks.run.sketches import ROWS_PER_CHUNK
from tasks.service.engine import Engine

SPREAD = 0.5


def multiply_rows(engine: Engine, rows: int, folder: Path) -> Engine:
    """Return the engine with drawn sketches of that many training rows, written into a folder."""
    real = engine.index.take(torch.arange(engine.index.count)).float()
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for number, (start, block) in enumerate(_draw_blocks(real, rows)):
        path = folder / f"{number:05}.safetensors"
        save_file({"rows": block}, path)
        positions = torch.arange(len(block))
        blocks.append(SketchBlock(partial(map_chunk, path), positions + start, positions))
    release_to_os()
    index = HeadIndex.build(SketchIndex(blocks))
    release_to_os()
    train = _repeat(engine.train, rows)
    return replace(engine, index=index, train=train, trust=replace(engine.trust, train_rows=rows))


def _draw_blocks(real: Tensor, rows: int) -> Iterator[tuple[int, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for start in range(0, rows, ROWS_PER_CHUNK):
        count = min(ROWS_PER_CHUNK, rows - start)
        first, second, third = (
            real[torch.randint(len(real), (count,), generator=generator)] for _ in range(3)
        )
        yield start, (first + SPREAD * (second - third)).half()


def _repeat(table: Table, rows: int) -> Table:
    """Return a table whose texts are the same objects again and again, with ids of their own."""
    order = [row % len(table) for row in range(rows)]
    pairs = None if table.text_pairs is None else [table.text_pairs[row] for row in order]
    return Table(
        [f"row-{row}" for row in range(rows)],
        [table.texts[row] for row in order],
        pairs,
        [table.labels[row] for row in order],
        {},
        "",
        table.place,
    )
