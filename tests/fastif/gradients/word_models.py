"""Models of embedded words, with layers that keep the order of rows and layers that do not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Scale(nn.Module):
    """Layer with its own parameters and an optional mask."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor([1.0, 0.5, -2.0])), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = x * self.w + self.b
        return y if mask is None else y * mask[..., None]


class Words(nn.Module):
    """Embedding of words, three numbers each, then a middle part, a mean and a head."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.e, self.inner, self.o = nn.Embedding(8, 3), inner, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.tanh(self.middle(x, self.e(x))).mean(1))

    def middle(self, x: Tensor, h: Tensor) -> Tensor:
        return h if self.inner is None else self.inner(h)


class MaskedKeyword(Words):
    def middle(self, x, h):
        return self.inner(h, mask=(x != 0).to(h))


class MaskedPositional(Words):
    def middle(self, x, h):
        return self.inner(h, (x != 0).to(h))


class MaskAttribute(Words):
    """The mask reaches the layer as an attribute."""

    def middle(self, x, h):
        self.inner.mask = (x != 0).to(h)
        return self.inner(h)


class Hidden(Scale):
    mask: Tensor

    def forward(self, x):
        return super().forward(x, self.mask)


class Sorted(Words):
    def forward(self, x):
        order = torch.argsort((x != 0).sum(1), descending=True, stable=True)
        return super().forward(x[order])[order.argsort()]


class Gathered(Words):
    """Sorting by other operations."""

    def forward(self, x):
        order = torch.argsort((x != 0).sum(1), descending=True, stable=True)
        h = super().forward(x.index_select(0, order))
        return torch.zeros_like(h).index_copy(0, order, h)


class Flipped(Words):
    def forward(self, x):
        return super().forward(x.flip(0)).flip(0)


class Rotated(Words):
    """Rotation by the number of rows without padding."""

    def forward(self, x):
        by = int((x[:, -1] != 0).sum())
        return super().forward(x.roll(by, 0)).roll(-by, 0)


class Swapped(Words):
    """Positions first, as in recurrent layers; for five rows the shape is unchanged."""

    def middle(self, x, h):
        return self.inner(h.transpose(0, 1)).transpose(0, 1)


class Flattened(Words):
    def middle(self, x, h):
        return self.inner(h.flatten(0, 1)).view_as(h)


class Halved(Words):
    """A layer called on one half of the rows after the other."""

    def middle(self, x, h):
        return torch.cat([self.inner(part) for part in h.chunk(2)])


class Doubled(Words):
    def middle(self, x, h):
        return self.inner(torch.cat([h, -h])).chunk(2)[1]


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.a, self.b = nn.Embedding(8, 3), nn.Linear(3, 4), nn.Linear(3, 4)
        self.o = nn.Linear(4, 3)

    def forward(self, x):
        x = self.e(x).mean(1)
        h, w = x.new_zeros(len(x), 4), x[:, 0] > 0
        if w.any():
            h[w] = self.a(x[w])
        if (~w).any():
            h[~w] = self.b(x[~w])
        return self.o(torch.tanh(h))


class Capacity(nn.Module):
    """Experts that each process as many rows as the batch has, some of them twice."""

    def __init__(self):
        super().__init__()
        self.e, self.a, self.o = nn.Embedding(8, 3), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.e(x).mean(1)
        best = h[:, 0].argsort(descending=True)
        return self.o(torch.tanh(h.new_zeros(len(x), 4).index_add(0, best, self.a(h[best]))))


class Bag(nn.Module):
    def __init__(self, weighed):
        super().__init__()
        self.weighed, self.o = weighed, nn.Linear(3, 3)
        self.bag = nn.EmbeddingBag(8, 3, mode="sum")

    def forward(self, x):
        weights = (x != 0).to(self.o.weight) if self.weighed else None
        return self.o(torch.tanh(self.bag(x, per_sample_weights=weights)))


class Offsets(Bag):
    def forward(self, x):
        return self.o(self.bag(x.flatten(), torch.arange(0, x.numel(), x.shape[1])))


class Attention(Words):
    def middle(self, x, h):
        return self.inner(h, h, h, key_padding_mask=(x == 0) & (torch.arange(5) > 0))[0]


class Tied(Words):
    def forward(self, x):
        return (torch.tanh(self.e(x).mean(1)) @ self.e.weight.T)[:, :3]


class TiedModules(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.head = nn.Embedding(8, 3), nn.Linear(3, 8, bias=False)
        self.head.weight = self.e.weight

    def forward(self, x):
        return self.head(torch.tanh(self.e(x).mean(1)))[:, :3]


class Sometimes(Words):
    """Model with outputs of a row that change if another row of its batch has padding."""

    def middle(self, x, h):
        y = self.inner(h)
        return y + h @ self.inner.weight.square() if bool((x == 0).any()) else y


class PackedGru(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.gru, self.o = (
            nn.Embedding(8, 3),
            nn.GRU(3, 3, batch_first=True),
            nn.Linear(3, 3),
        )

    def forward(self, x):
        lengths = (x != 0).sum(1).clamp_min(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(self.e(x), lengths, True, enforce_sorted=False)
        return self.o(self.gru(packed)[1][0])


class SortedGru(nn.Module):
    """Sorting by length, with a layer before it and one after it."""

    def __init__(self):
        super().__init__()
        self.e, self.p, self.gru = nn.Embedding(8, 3), nn.Linear(3, 3), nn.GRU(3, 3)
        self.o = nn.Linear(3, 3)

    def forward(self, x):
        order = (x != 0).sum(1).argsort(descending=True, stable=True)
        h = self.p(self.e(x[order])).transpose(0, 1)
        return self.o(self.gru(h)[1][0])[order.argsort()]


class Positions(Words):
    """Table of positions [1 t] that all rows share."""

    def middle(self, x, h):
        return h + self.inner(torch.arange(x.shape[1])[None])


class Twice(Words):
    def middle(self, x, h):
        return self.inner(torch.tanh(self.inner(h)))


class InPlace(Words):
    """A layer's output is modified in place."""

    def middle(self, x, h):
        y = self.inner(h)
        y *= (x != 0).to(h)[..., None]
        y += h
        return y


class Rescaled(nn.Linear):
    """Subclass of a linear layer that computes something else."""

    def forward(self, x):
        return F.linear(x, self.weight * (1 + self.weight.abs()), self.bias)


class LongOnes(nn.Linear):
    """Linear layer with another output for rows with a large sum."""

    def forward(self, x):
        y = super().forward(x)
        return torch.where(x.sum((1, 2), keepdim=True) > 1, 2 * y, y)


class Nested(nn.Module):
    """Layer with its own parameter around another layer, and with a use of the inner weight."""

    def __init__(self, reads):
        super().__init__()
        self.reads, self.inner = reads, nn.Linear(3, 3)
        self.gain = nn.Parameter(torch.tensor([1.0, -1.0, 2.0]))

    def forward(self, x):
        y = self.inner(x * self.gain)
        return y + x @ self.inner.weight if self.reads else y


class Channels(Words):
    def middle(self, x, h):
        return self.inner(h.mT).mT
