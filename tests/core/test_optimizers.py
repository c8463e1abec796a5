"""LazyAdam is torch's Adam run on each row for itself; RowNewton ends at the ridge solution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaem_core.federated.messages import Upload
from metaem_core.training.epochs import restore
from metaem_core.training.optimizers import LazyAdam, NetworkAdam, RowNewton


def visits(steps: int, rows: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Random distinct rows with random gradients, a few of them zero."""
    draw = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(steps):
        touched = torch.randperm(rows, generator=draw)[: 1 + rows // 3]
        gradient = torch.randn(len(touched), 4, generator=draw, dtype=torch.float64)
        gradient[torch.rand(gradient.shape, generator=draw) < 0.1] = 0.0
        out.append((touched, gradient))
    return out


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), l2=st.sampled_from([0.0, 0.1]))
def test_lazy_adam_is_a_separate_adam_for_each_row(seed: int, l2: float) -> None:
    start = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    lazy = LazyAdam(start.clone(), 0.05, l2)
    rows = [row.clone().requires_grad_() for row in start]
    each = [torch.optim.Adam([row], lr=0.05, weight_decay=l2) for row in rows]
    for touched, gradient in visits(12, 9, seed):
        lazy.update(touched, gradient)
        for row, g in zip(touched.tolist(), gradient, strict=True):
            rows[row].grad = g
            each[row].step()
    torch.testing.assert_close(lazy.table, torch.stack(rows).detach(), rtol=1e-10, atol=1e-12)


def test_network_adam_is_adam_over_all_networks() -> None:
    draw = torch.Generator().manual_seed(2)
    start = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((3, 2), (3,))]
    reference = [p.clone().requires_grad_() for p in start]
    torch_adam = torch.optim.Adam(reference, lr=0.1, weight_decay=0.01)
    ours = tuple(p.clone() for p in start)
    nets = NetworkAdam(ours, 0.1, 0.01)
    for _ in range(5):
        gradients = [torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in start]
        nets.step(tuple(gradients))
        for p, g in zip(reference, gradients, strict=True):
            p.grad = g
        torch_adam.step()
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_a_checkpoint_of_another_run_is_refused() -> None:
    lazy = LazyAdam(torch.ones(2, 2), 0.1, 0.0)
    with pytest.raises(ValueError, match="checkpoint holds"):
        restore(lazy.state(), {"table": torch.ones(2, 2)})
    other = LazyAdam(torch.ones(3, 2), 0.1, 0.0)
    with pytest.raises(ValueError, match=r"'table': \(3, 2\).*needs .*'table': \(2, 2\)"):
        restore(lazy.state(), other.state())


def test_row_newton_ends_at_the_ridge_solution_whatever_the_cohort() -> None:
    """Rows fitted to their ratings of known vectors, penalised by sqrt(n) l2."""
    draw = torch.Generator().manual_seed(3)
    owner = torch.arange(12).repeat_interleave(torch.arange(3, 15))
    given = torch.randn(len(owner), 2, generator=draw, dtype=torch.float64)
    values = torch.randn(len(owner), generator=draw, dtype=torch.float64)
    counts = torch.bincount(owner)
    exact = []
    for row, count in enumerate(counts.tolist()):
        a, b = given[owner == row], values[owner == row]
        ridge = a.T @ a + 1.5 * count**0.5 * torch.eye(2, dtype=torch.float64)
        exact.append(torch.linalg.solve(ridge, a.T @ b))
    for size in (3, 12):
        table = torch.zeros(12, 2, dtype=torch.float64)
        newton = RowNewton(table, 0.5, 1.5, counts, torch.ones(12))
        for step in range(400):
            rows = torch.arange(12).roll(-size * step)[:size]
            mine = torch.isin(owner, rows)
            error = values - (given * table[owner]).sum(1)
            pull = (-2 * error.unsqueeze(1) * given)[mine] / int(mine.sum())
            gradient = torch.zeros_like(table).index_add_(0, owner[mine], pull)[rows]
            loss = float(error[mine].square().sum())
            newton.update(rows, gradient, Upload({}, loss, int(mine.sum())))
        torch.testing.assert_close(table, torch.stack(exact), rtol=1e-4, atol=1e-5)
