"""How many threads there are to compute with."""

import math

import pytest
import torch

from ddpm.device import THREADS, allowed_cores


@pytest.mark.parametrize(
    ("content", "cores"), [("200000 100000\n", 2), ("50000 100000\n", 0.5), ("max 100000\n", math.inf)]
)
def test_a_container_computes_with_the_cores_it_was_given(tmp_path, content, cores):
    (tmp_path / "cpu.max").write_text(content)
    assert allowed_cores(tmp_path / "cpu.max") == cores


def test_where_nothing_limits_it_every_core_counts(tmp_path):
    assert allowed_cores(tmp_path / "missing") == math.inf
    assert 1 <= THREADS <= torch.get_num_threads()
