"""Adam at the cost of touched rows against torch's own over the whole table."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaem_core.training.row_adam import RowAdam


def run(
    seed: int,
    rows: int,
    steps: int,
    touched: float,
    l2: float,
    dtype: torch.dtype,
    settle: int = 1 << 20,
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """Both tables after the same gradients, and what either read before each step."""
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(rows, 3, generator=draw, dtype=dtype)
    ours, theirs = RowAdam(start, 0.01, l2), start.clone().requires_grad_()
    textbook = torch.optim.Adam([theirs], lr=0.01)
    read = []
    for step in range(steps):
        size = max(1, int(rows * touched * torch.rand((), generator=draw)))
        touch = torch.randint(rows, (2 * size,), generator=draw)  # some of them twice
        sign = torch.randn(rows, 3, generator=draw, dtype=dtype).sign()  # repeats do not cancel
        size = 10 ** (3 * torch.rand(len(touch), 1, generator=draw, dtype=dtype) - 2)
        gradient = sign[touch] * size
        read.append((ours.read(touch), theirs.detach()[touch]))
        total = torch.zeros_like(theirs).index_add(0, touch, gradient)
        total[touch] += l2 * theirs.detach()[touch]
        theirs.grad = total
        textbook.step()
        ours.step(gradient)
        if step % settle == settle - 1:
            ours.settle()
    ours.settle()
    return ours.table, theirs.detach(), read


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 30),
    steps=st.integers(0, 120),
    touched=st.sampled_from([0.1, 0.6, 1.0]),
    l2=st.sampled_from([0.0, 0.05]),
    settle=st.sampled_from([1, 7, 1000]),
)
def test_it_is_dense_adam(
    seed: int, rows: int, steps: int, touched: float, l2: float, settle: int
) -> None:
    """Every read and the table, however often it is settled, over random patterns of touch."""
    mine, theirs, read = run(seed, rows, steps, touched, l2, torch.float64, settle)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    for ours, textbook in read:
        torch.testing.assert_close(ours, textbook, rtol=1e-5, atol=1e-7)


def test_float32_stays_with_dense_adam_over_a_long_run() -> None:
    mine, theirs, _ = run(0, rows=60, steps=4_000, touched=0.02, l2=0.0, dtype=torch.float32)
    torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=2e-4)
    assert (mine - theirs).abs().mean() < 2e-5
