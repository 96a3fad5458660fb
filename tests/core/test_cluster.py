"Tasks on workers that die, hang, raise, or lose their scheduler: nothing lost, nothing twice."

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clusters import PATIENCE, Diary, Processes, free_port, until

pytest.importorskip("distributed")

from seeing_words.core.cluster import (
    ClusterExecutor,
    TaskError,
    check_shared,
    local_workers,
    progress_of,
    slurm_options,
)
from seeing_words.core.errors import InputError
from seeing_words.core.parallel import Task, computing_with, keep, parallel_map

# an idle worker that Dask is closing may still send it something
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    "Two workers of this machine, which share its cores."
    place = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEING_WORDS_STORE", str(place))
        with local_workers(2, patience=PATIENCE) as executor:
            yield executor


@pytest.fixture
def another(cluster, tmp_path):
    "Another executor of the same workers, with settings of its own."
    made = []

    def make(**settings) -> ClusterExecutor:
        settings = {"patience": PATIENCE} | settings
        made.append(ClusterExecutor(cluster.address, tmp_path, **settings))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(wait=False)


def test_results_are_those_of_here_in_the_order_of_the_items(cluster):
    table = np.random.default_rng(0).normal(size=(4, 200, 100))
    columns = np.asfortranarray(table[0])  # travels by a file, in its own order

    def score(i: int) -> tuple[int, float, np.ndarray]:
        time.sleep(0.05 * (3 - i))
        return os.getpid(), float(columns.sum() + table[i].sum()), table[i] * 2

    with computing_with(cluster):
        there = parallel_map(score, range(4), task="score")
    here = [score(i) for i in range(4)]
    assert os.getpid() not in {pid for pid, *_ in there}
    for one, other in zip(there, here, strict=True):
        assert one[1] == other[1]
        assert np.array_equal(one[2], other[2])


def test_what_cannot_be_sent_is_computed_here(cluster):
    lock = threading.Lock()
    with computing_with(cluster):
        assert parallel_map(lambda i: (lock.locked(), os.getpid())[1], [1], task="t") == [
            os.getpid()
        ]


def test_a_worker_killed_in_the_middle_loses_nothing(cluster, tmp_path):
    diary = Diary(tmp_path / "diary")

    def work(i: int) -> int:
        diary.note(i)
        time.sleep(1.5)
        return i * i

    with ThreadPoolExecutor(1) as beside, computing_with(cluster):
        kill = beside.submit(lambda: os.kill(diary.pid(2), signal.SIGKILL))
        assert parallel_map(work, range(6), task="square") == [i * i for i in range(6)]
        kill.result()
    assert diary.times(2) == 2  # it was begun again
    assert len({pid for _, pid in diary.lines()}) >= 2


def test_a_task_whose_every_worker_dies_is_reported_by_name(cluster):
    def die(job: tuple) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def allow(n: int) -> None:
        cluster._client.run_on_scheduler(
            lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", n)
        )

    allow(1)  # each start of a worker takes long
    with computing_with(cluster), pytest.raises(TaskError, match="null: v2l · a · b.*died"):
        parallel_map(die, [("v2l", "a", "b")], task="null")
    allow(3)
    with computing_with(cluster):
        assert parallel_map(abs, [-1], task="after") == [1]


@pytest.mark.parametrize("is_frozen", [False, True], ids=["busy", "frozen"])
def test_a_worker_that_hangs_is_started_again(another, tmp_path, is_frozen):
    diary = Diary(tmp_path / "diary")

    def work(i: int) -> int:
        first = not diary.times(i)
        diary.note(i)
        if i == 1 and first:
            time.sleep(3600)
        return -i

    executor = another(timeout=5.0)
    with ThreadPoolExecutor(1) as beside, computing_with(executor):
        if is_frozen:  # nothing in it answers any more
            beside.submit(lambda: os.kill(diary.pid(1), signal.SIGSTOP))
        assert parallel_map(work, range(4), task="t") == [0, -1, -2, -3]
    first, second = (pid for what, pid in diary.lines() if what == "1")
    assert first != second
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)  # it does not hang any longer


def test_a_task_that_hangs_every_time_is_reported_by_name(another):
    executor = another(timeout=1.0, retries=1)
    with computing_with(executor), pytest.raises(TaskError, match="extract: a · grey.*no result"):
        parallel_map(lambda _: time.sleep(3600), [("a", "grey")], task="extract")


def test_an_error_is_reported_by_name_and_the_rest_is_cancelled(cluster, tmp_path):
    diary = Diary(tmp_path / "diary")

    def work(job: tuple) -> None:
        diary.note("-".join(job))
        if job == ("v2l", "one"):
            raise ZeroDivisionError("nothing to divide by")
        time.sleep(0.2)

    jobs = [("v2l", "one"), *(("l2v", str(i)) for i in range(50))]
    with computing_with(cluster), pytest.raises(TaskError) as raised:
        parallel_map(work, jobs, task="alignment")
    assert str(raised.value) == ("alignment: v2l · one: ZeroDivisionError: nothing to divide by")
    assert any("in work" in note for note in raised.value.__notes__)  # the traceback from there
    time.sleep(1)
    assert len(diary.lines()) < 40
    assert diary.times("v2l-one") == 1


def test_an_input_error_stays_one(cluster):
    def refuse(name: str) -> None:
        raise InputError("it has no layers: name another")

    with computing_with(cluster), pytest.raises(InputError, match="^extract: net: it has no lay"):
        parallel_map(refuse, ["net"], task="extract")


def test_errors_of_files_are_met_by_another_attempt(cluster, tmp_path):
    diary = Diary(tmp_path / "diary")

    def stale(i: int) -> int:
        diary.note(i)
        if diary.times(i) < 3:
            raise OSError(116, "Stale file handle")
        return i

    def always(i: int) -> None:
        raise OSError(116, "Stale file handle")

    with computing_with(cluster):
        assert parallel_map(stale, [7], task="t") == [7]
        with pytest.raises(TaskError, match=r"t: 8: OSError: .*attempt 4"):
            parallel_map(always, [8], task="t")
    assert diary.times(7) == 3


def test_progress_counts_tasks_and_says_how_long_they_take(cluster):
    before = progress_of(cluster)
    with ThreadPoolExecutor(1) as beside:
        futures = [cluster.submit(Task(f"nap: {i}", time.sleep, (1.0,))) for i in range(8)]
        until(lambda: sum(future.done() for future in futures) >= 3)
        during = beside.submit(progress_of, cluster).result()
        assert 0 < during.left <= 5
        assert 0 < during.seconds < 30
        assert during.workers == 2
        for future in futures:
            future.result()
    after = progress_of(cluster)
    assert (after.done - before.done, after.left) == (8, 0)


def test_tasks_that_keep_the_same_network_go_to_the_same_worker(cluster, tmp_path):
    diary = Diary(tmp_path / "diary")

    def use(name: str) -> int:
        keep(name, lambda: diary.note(f"loads-{name}") or name)
        time.sleep(0.3)
        return os.getpid()

    def run() -> None:
        tasks = [Task(f"extract: {n} · {i}", use, (n,), keeps=n) for i in range(5) for n in "ab"]
        for future in [cluster.submit(task) for task in tasks]:
            future.result()

    run()
    loads = len(diary.lines())
    assert 2 <= loads <= 5  # of ten; one that is idle may take some from another
    fits = [cluster.submit(Task(f"fit: {i}", time.sleep, (0.3,))) for i in range(6)]
    for future in fits:
        future.result()
    run()
    assert len(diary.lines()) >= loads + 2  # other tasks have the memory for themselves


def test_a_shared_folder_is_tried_with_a_worker(cluster, tmp_path, monkeypatch):
    check_shared(cluster, tmp_path)
    assert list((tmp_path / "cluster").iterdir()) == []

    class NoLock:  # what some file systems on a network do: nothing
        def __init__(self, path):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("filelock.FileLock", NoLock)
    with pytest.raises(InputError, match="can be taken there"):
        check_shared(cluster, tmp_path)


def test_a_scheduler_that_is_started_again_gets_what_was_not_returned(tmp_path):
    port, diary = free_port(), Diary(tmp_path / "diary")
    gate = tmp_path / "gate"

    def work(i: int) -> int:
        diary.note(i)
        if i:
            until(gate.exists)
        return 10 * i

    with Processes() as processes:
        scheduler = processes.scheduler(port)
        worker = processes.worker(port, tmp_path, "--no-nanny")
        executor = ClusterExecutor(f"tcp://127.0.0.1:{port}", tmp_path, patience=PATIENCE)
        futures = [executor.submit(Task(f"t: {i}", work, (i,))) for i in range(3)]
        assert futures[0].result() == 0
        diary.pid(1)  # it has begun
        processes.kill(scheduler)
        processes.kill(worker)
        processes.scheduler(port)
        processes.worker(port, tmp_path, "--no-nanny")
        until(lambda: diary.times(1) == 2)
        gate.touch()
        assert [future.result() for future in futures] == [0, 10, 20]
        assert diary.times(0) == 1  # its result was there already
        executor.shutdown()


def test_without_a_worker_or_a_scheduler_all_that_is_left_is_named(tmp_path):
    port = free_port()
    with Processes() as processes:
        scheduler = processes.scheduler(port)
        executor = ClusterExecutor(f"tcp://127.0.0.1:{port}", tmp_path, patience=3.0)
        futures = [executor.submit(Task(f"null: v2l · {name}", len, ("",))) for name in "ab"]
        with pytest.raises(InputError, match="no worker at .* null: v2l · a, null: v2l · b"):
            futures[0].result(timeout=PATIENCE)
        processes.kill(scheduler)
        until(lambda: not executor._is_connected)
        late = executor.submit(Task("extract: c", len, ("",)))
        with pytest.raises(InputError, match=r"extract: c: no scheduler at .*continues from there"):
            late.result(timeout=PATIENCE)
        executor.shutdown()


def test_networks_go_to_workers_with_the_memory_for_them(tmp_path):
    port, diary = free_port(), Diary(tmp_path / "diary")

    def use(name: str) -> str:
        diary.note(f"{name}-begins")
        time.sleep(0.7)
        diary.note(f"{name}-ends")
        return name

    with Processes() as processes:
        processes.scheduler(port)
        for size in (8, 80):
            resources = f"--resources=gpu_memory={size}e9"
            processes.worker(port, tmp_path, "--no-nanny", resources, "--nthreads=2")
        executor = ClusterExecutor(f"tcp://127.0.0.1:{port}", tmp_path, patience=PATIENCE)
        until(lambda: len(executor.workers) == 2)
        assert (executor.cards, executor.device) == ([80e9, 8e9], "cuda")
        sizes = {"large-1": 50e9, "large-2": 50e9, "small-1": 6e9}
        tasks = [Task(name, use, (name,), memory=size) for name, size in sizes.items()]
        assert [executor.submit(task) for task in tasks][-1].result() == "small-1"
        until(lambda: len(diary.lines()) == 6)
        of_large = [line for line in diary.lines() if "large" in line[0]]
        assert len({pid for _, pid in of_large}) == 1  # on the large card only
        words = [what.rpartition("-")[2] for what, _ in of_large]
        assert words == ["begins", "ends", "begins", "ends"]  # one after the other
        with pytest.raises(InputError, match="huge needs 90.0 GB.*largest of 2 workers has 80.0"):
            executor.submit(Task("huge", use, ("huge",), memory=90e9))
        executor.shutdown()


SBATCH = """#!/bin/sh
# a Slurm of one machine: starts the job beside, and names it
echo "$@" >> {folder}/asked
cp "$1" {folder}/job-$$.sh
setsid sh {folder}/job-$$.sh > {folder}/log-$$ 2>&1 &
echo $! >> {folder}/pids
echo "Submitted batch job $$"
"""


def test_jobs_of_slurm_are_written_as_asked(monkeypatch, tmp_path):
    slurm = pytest.importorskip("dask_jobqueue.slurm")
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "my store"))
    text = "partition=gpu,account=lab,time=02:00:00,cores=8,memory=64GB,gpus=1,jobs=3,qos=high"
    n_jobs, options = slurm_options(text)
    assert n_jobs == 3
    script = slurm.SLURMJob("tcp://head:1", name="one", **options).job_script()
    lines = script.splitlines()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH -A lab",
        "#SBATCH -t 02:00:00",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=60G",  # 64 GB in units of 2³⁰ bytes
        "#SBATCH --gpus=1",
        "#SBATCH --qos=high",
        f"export SEEING_WORDS_STORE='{tmp_path / 'my store'}'",
        "export DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON__OMP_NUM_THREADS=8",
    ):
        assert line in lines
    command = lines[-1]
    assert "distributed.cli.dask_worker tcp://head:1 --name one --nthreads 1" in command
    assert command.endswith("--preload seeing_words.core.cluster")


def test_tasks_run_in_jobs_of_slurm(monkeypatch, tmp_path):
    pytest.importorskip("dask_jobqueue")
    from seeing_words.core.cluster import slurm_workers

    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": "#!/bin/sh\n"}.items():
        (bin_folder / name).write_text(text.format(folder=tmp_path))
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    try:
        with slurm_workers("jobs=2,cores=1,memory=1GB,interface=lo") as executor:
            with computing_with(executor):
                assert parallel_map(abs, [-1, 2], task="t") == [1, 2]
            until(lambda: len(executor.workers) == 2)
        assert len((tmp_path / "asked").read_text().splitlines()) == 2
    finally:
        for pid in (tmp_path / "pids").read_text().split():
            try:
                os.killpg(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError, match=r'pip install "seeing-words\[cluster\]"'):
        with local_workers(1):
            pass
