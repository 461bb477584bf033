"""Operations: what joins what comes before it, and how a network is split."""

from __future__ import annotations

import numpy as np

from lottery_pools.deploy.graph import Activate, Add, Convolution, Network, Operation, fuse, is_scale, split


def convolution(out: str, source: str, outputs: int = 2, inputs: int = 2) -> Convolution:
    weight = np.arange(1, outputs * inputs + 1, dtype=np.float32).reshape(outputs, inputs, 1, 1)
    return Convolution(out, source, weight, np.ones(outputs, np.float32))


def scale(out: str, source: str) -> Convolution:
    weight = np.array([2.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    return Convolution(out, source, weight, np.array([1.0, -1.0], np.float32), groups=2)


def test_a_batch_norm_joins_the_convolution_before_it() -> None:
    (fused,) = fuse([convolution("a", "x"), scale("b", "a")], ["b"])
    assert isinstance(fused, Convolution)
    assert fused.out == "b"
    assert fused.source == "x"
    np.testing.assert_array_equal(fused.weight.reshape(2, 2), [[2, 4], [9, 12]])
    np.testing.assert_array_equal(fused.bias, [3, 2])
    assert not is_scale(fused)


def test_a_batch_norm_of_a_sum_stays_as_it_is() -> None:
    operations: list[Operation] = [convolution("a", "x"), Add("s", "a", "x"), scale("b", "s")]
    summed, scaled = fuse(operations, ["b"])
    assert isinstance(summed, Convolution)
    assert summed.residual == "x"
    assert isinstance(scaled, Convolution)
    assert scaled.source == "s"


def test_an_activation_and_a_residual_join_the_later_convolution() -> None:
    operations: list[Operation] = [
        convolution("a", "x"),
        convolution("b", "x"),
        Add("s", "a", "b"),
        Activate("r", "s", "relu"),
    ]
    first, second = fuse(operations, ["r"])
    assert isinstance(second, Convolution)
    assert (first.out, second.out, second.residual, second.activation) == ("a", "r", "a", "relu")


def test_what_is_read_elsewhere_stays() -> None:
    operations: list[Operation] = [convolution("a", "x"), Activate("r", "a", "relu")]
    assert [op.out for op in fuse(operations, ["r", "a"])] == ["a", "r"]
    twice: list[Operation] = [convolution("a", "x"), Add("s", "a", "a")]
    assert [op.out for op in fuse(twice, ["s"])] == ["a", "s"]


def test_a_split_network_passes_on_what_its_second_part_reads() -> None:
    operations = (convolution("a", "x"), convolution("b", "a"), Add("s", "b", "a"), Add("t", "s", "x"))
    network = Network(operations, dict.fromkeys("xabst", (2, 1, 1)), ("x",), ("t", "a"))
    first, rest = split(network, 2)
    assert (first.inputs, set(first.outputs)) == (("x",), {"a", "b"})
    assert (set(rest.inputs), rest.outputs) == ({"a", "b", "x"}, ("t",))
    assert first.weights == 8
    assert split(network, 0)[1].operations == operations
