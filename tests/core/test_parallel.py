"`parallel_map`: order, errors, thread counts, and calls within calls."

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from seeing_words import align
from seeing_words.core import parallel
from seeing_words.core.parallel import computing_on, parallel_map, sharing_cores
from seeing_words.measures import numerics


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


def threads(_=None) -> tuple[int, int]:
    "How many threads torch and the BLAS of NumPy would use."
    time.sleep(0.02)
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return torch.get_num_threads(), max(blas, default=1)


@pytest.mark.parametrize("n_items", [2, 8])  # fewer than there are threads, and more
def test_libraries_have_one_thread_in_each_worker_and_get_theirs_back(four_threads, n_items):
    before = threads()
    assert set(parallel_map(threads, range(n_items))) == {(1, 1)}
    assert threads() == before


def test_within_a_block_libraries_have_one_thread_and_the_cores_are_shared_out(four_threads):
    before = threads()
    with sharing_cores():
        assert threads() == (1, 1)
        with sharing_cores():
            assert threads() == (1, 1)
        assert threads() == (1, 1)
        workers = parallel_map(lambda _: (threading.get_ident(), *threads()), range(8))
        assert len({worker for worker, *_ in workers}) == 4
        assert {tuple(counts) for _, *counts in workers} == {(1, 1)}
    assert threads() == before
    with pytest.raises(ZeroDivisionError), sharing_cores():
        raise ZeroDivisionError
    assert threads() == before


def test_beside_a_block_in_another_thread_nothing_is_started_or_set(four_threads):
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with sharing_cores():
            inside.set()
            done.wait(10)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(other)
        inside.wait(10)
        with sharing_cores():  # it changes nothing, and gives nothing back that it did not take
            assert set(parallel_map(lambda _: threading.get_ident(), range(4))) == {
                threading.get_ident()
            }
        done.set()
        future.result()
    together = threading.Barrier(2)

    def worker(_) -> int:
        together.wait(10)  # passed by two workers only
        return threading.get_ident()

    assert len(set(parallel_map(worker, range(2)))) == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted on Linux")
def test_the_first_product_in_a_worker_starts_no_threads(four_threads):
    "A new thread asks torch for its number of threads only after its first product."
    X, ready = torch.randn(600, 600), threading.Barrier(4)

    def product(_) -> int:
        ready.wait()  # all workers are there
        before = len(os.listdir("/proc/self/task"))
        torch.linalg.eigh((X @ X.T).double())
        np.linalg.eigh(X.numpy() @ X.numpy().T)
        ready.wait()
        return len(os.listdir("/proc/self/task")) - before

    assert parallel_map(product, range(4)) == [0] * 4


def test_an_alignment_starts_one_pool_at_a_time_and_decomposes_in_one_thread(
    four_threads, monkeypatch
):
    "No pool within a pool, and no threads of libraries, which would wait for each other."
    at_work, most, decomposed = [], [], []

    class Counted(ThreadPoolExecutor):
        def __enter__(self):
            at_work.append(self)
            most.append((len(at_work), self._max_workers))
            return super().__enter__()

        def __exit__(self, *error):
            at_work.remove(self)
            return super().__exit__(*error)

    eigh = numerics._eigh

    def noted(S: torch.Tensor):
        decomposed.append((torch.get_num_threads(), threads()))
        return eigh(S)

    monkeypatch.setattr(parallel, "ThreadPoolExecutor", Counted)
    for module in ("_ridge_dual", "_ridge_primal"):
        monkeypatch.setattr(f"seeing_words.measures.{module}._eigh", noted)
    X, Y = np.random.default_rng(0).normal(size=(2, 2, 60, 70))
    align(X, Y, n_permutations=5, n_draws=20, progress=False)
    assert {pools for pools, _ in most} == {1} and max(workers for _, workers in most) == 4
    assert set(decomposed) == {(1, (1, 1))}
    # in both directions each of two layers, without one part (five) and without two (ten)
    assert len(decomposed) == 2 * 2 * (5 + 10)
    assert torch.get_num_threads() == 4


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
