"""Which rows each process trains on in each step, and which numbers of processes are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tiny_training import stage_config

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.finetune.processes import check_number
from selectit.finetune.sampler import PassSampler, StepOrder

LENGTHS = [5 + (7 * i) % 31 for i in range(53)]  # 6 whole steps of 8 rows, and one of 5
FILLER = len(LENGTHS)


def passes_of(rank: int, num_processes: int, epoch: int = 0) -> list[list[int]]:
    return list(PassSampler(StepOrder(LENGTHS, 8, 1, seed=3), rank, num_processes, FILLER, lambda: epoch))


def rows_by_step(num_processes: int, epoch: int) -> list[list[int]]:
    """Rows of all processes, in the order of the passes; fillers left out."""
    ranks = [passes_of(rank, num_processes, epoch) for rank in range(num_processes)]
    assert len({len(passes) for passes in ranks}) == 1, "every process must make equally many passes"
    accumulation = 8 // num_processes
    rounds = list(zip(*ranks, strict=True))
    return [
        [row for passes in rounds[start : start + accumulation] for rows in passes for row in rows if row != FILLER]
        for start in range(0, len(rounds), accumulation)
    ]


@pytest.mark.parametrize("epoch", [0, 1])
def test_any_number_of_processes_trains_on_the_same_rows_in_each_step(epoch):
    alone = rows_by_step(1, epoch)
    assert sorted(row for step in alone for row in step) == list(range(53))
    assert [len(step) for step in alone] == [8] * 6 + [5]
    for num_processes in (2, 4, 8):
        assert rows_by_step(num_processes, epoch) == alone


def test_steps_are_a_shuffle_and_go_by_length_inside():
    orders = [
        [row for step in StepOrder(LENGTHS, 8, 2, seed).passes(epoch) for rows in step for row in rows]
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        assert sorted(order) == list(range(53))
        for start in range(0, 53, 8):
            step = [LENGTHS[row] for row in order[start : start + 8]]
            assert step == sorted(step, reverse=True)


def test_the_length_of_a_sampler_is_the_number_of_its_passes():
    for num_processes in (1, 2, 8):
        sampler = PassSampler(StepOrder(LENGTHS, 8, 1, seed=3), 0, num_processes, FILLER, lambda: 0)
        assert len(sampler) == len(list(sampler))


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"num_processes": 3}, "global_batch_size 8 is not a multiple of micro_batch_size 2 x num_processes 3 = 6; "
         "allowed with 3 processes: none, for 8 rows cannot be divided evenly"),
        ({"num_processes": 4, "micro_batch_size": 4}, "allowed with 4 processes: micro_batch_size 1, 2"),
        ({"launcher": "none", "num_processes": 2}, "num_processes 2 needs a launcher; set launcher to torchrun"),
        ({"launcher": "none", "deepspeed": "zero2"}, "deepspeed zero2 needs a launcher"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_shared_out_is_refused_with_what_can(settings, reported):
    with pytest.raises(ValidationError, match=reported):
        FinetuneConfig(**{"launcher": "torchrun", "global_batch_size": 8, "micro_batch_size": 2, **settings})


def test_accumulation_follows_from_the_batch_sizes_and_the_processes():
    settings = {"launcher": "torchrun", "global_batch_size": 128, "micro_batch_size": 4}
    assert [FinetuneConfig(**settings, num_processes=n).accumulation_steps for n in (1, 2, 8)] == [32, 16, 4]


def test_another_number_of_processes_than_was_set_is_refused(tiny_llama, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"4 training processes were started and finetune.num_processes is 2"):
        check_number(stage_config(tiny_llama, launcher="torchrun", num_processes=2).finetune)
