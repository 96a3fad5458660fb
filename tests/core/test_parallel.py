"`parallel_map`: order, errors, thread counts, and calls within calls."

import threading
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from seeing_words.core.parallel import computing_on, parallel_map


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items(four_threads):
    def slow_first(i: int) -> int:
        time.sleep(0.02 * (3 - i))
        return i

    assert parallel_map(slow_first, iter(range(4))) == [0, 1, 2, 3]
    assert parallel_map(abs, []) == []


def test_the_cores_are_divided_among_the_workers_and_given_back(four_threads):
    def threads(_) -> tuple[int, int]:
        time.sleep(0.02)
        blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return torch.get_num_threads(), max(blas, default=1)

    before = threads(0)
    assert {torch_threads for torch_threads, _ in parallel_map(threads, range(2))} == {2}
    assert set(parallel_map(threads, range(8))) == {(1, 1)}
    assert threads(0) == before


def test_calls_within_calls_and_beside_them_start_no_threads(four_threads):
    def workers(_) -> set[int]:
        return set(parallel_map(lambda _: threading.get_ident(), range(3)))

    outer = parallel_map(lambda i: (threading.get_ident(), workers(i)), range(4))
    for thread, inner in outer:
        assert inner == {thread}
    assert torch.get_num_threads() == 4


def test_no_more_items_than_asked_for_are_processed_together(four_threads):
    at_work, most = set(), []

    def work(i: int) -> None:
        at_work.add(i)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.discard(i)

    parallel_map(work, range(8), at_most=2)
    assert max(most) <= 2
    most.clear()
    parallel_map(work, range(8), at_most=1)
    assert max(most) == 1


def test_an_error_is_raised_and_the_next_call_runs_in_parallel_again(four_threads):
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda i: 1 / i, [2, 1, 0])
    assert torch.get_num_threads() == 4

    def thread(_) -> int:
        time.sleep(0.02)
        return threading.get_ident()

    assert len(set(parallel_map(thread, range(4)))) > 1


def test_beside_a_card_only_what_stays_off_it_is_processed_together(four_threads):
    def thread(_) -> int:
        time.sleep(0.02)
        return threading.get_ident()

    with computing_on("meta"):
        assert set(parallel_map(thread, range(4))) == {threading.get_ident()}
        assert len(set(parallel_map(thread, range(4), on_cpu=True))) > 1
