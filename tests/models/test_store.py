"""The store under faults: every byte counts, and a run killed, starved or doubled ends as an
undisturbed one."""

import errno
import getpass
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from tiny import fill_store, model, stimuli

from seeing_words.core.errors import InputError
from seeing_words.models import store as st
from seeing_words.models.cache import Results, fingerprint
from seeing_words.models.extract import extract, extract_many
from seeing_words.models.store import Store, feature_spec, find_damage

KIND, SIZE = "llama", 40


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(st, "BLOCK", 8)


@pytest.fixture
def made(tmp_path):
    return model(KIND, tmp_path / "models")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def get(made, store, n=SIZE, **options):
    return extract(made, stimuli(n), pooling="mean", store=store, progress=False, **options)


def contents(store: Store) -> dict[str, bytes]:
    "All that is kept, but for the locks."
    return {
        str(p.relative_to(store.root)): p.read_bytes()
        for p in sorted(store.root.rglob("*"))
        if p.is_file() and p.suffix != ".lock"
    }


def count(made) -> list:
    passes = []
    made.network.register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_an_entry_is_a_plain_zarr_group_read_back_without_the_network(made, store):
    first, spec = get(made, store), feature_spec(made, stimuli(SIZE), pooling="mean")
    array = zarr.open_group(store.folder(spec) / "features.zarr", mode="r")["features"]
    assert (
        array.chunks == (4, 8, 16)
        and array.shape == (4, SIZE, 16)
        and array.metadata.zarr_format == 3
    )
    assert array.metadata.dimension_names == ("layer", "stimulus", "unit")
    passes = count(made)
    assert (
        get(made, store).identical(first) and np.array_equal(array[:], first.values) and not passes
    )
    assert spec in store and store.keys() == [store.folder(spec).name]
    assert store.ls() == [
        {"key": store.keys()[0], **spec, "bytes": sum(map(len, contents(store).values()))}
    ]


def test_a_flipped_byte_in_any_file_is_found_and_never_used(made, store):
    first, whole = get(made, store), contents(store)
    assert {Path(name).name for name in whole} == {"manifest.json", "zarr.json", "0"}
    rng = random.Random(0)
    for name, data in whole.items():
        for _ in range(1 if name.endswith("/0") else 8):
            place, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
            (store.root / name).write_bytes(
                data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
            )
            assert all(store.verify().values()), (name, place, bit)
            with pytest.raises(InputError, match="cannot be used"):
                store.read(feature_spec(made, stimuli(SIZE), pooling="mean"))
        with pytest.warns(UserWarning, match="is damaged"):
            assert get(made, store).identical(first)
        assert contents(store) == whole


@pytest.mark.parametrize(("n_units", "n_layers"), [(16, 4), (2**18, 2), (2**20, 1)])
def test_a_chunk_has_as_many_layers_as_make_16_mib(tmp_path, n_units, n_layers):
    st.Writer(tmp_path / "x.partial", (4, 250, n_units), "float32").start()
    assert zarr.open_array(tmp_path / "x.partial/features.zarr/features").chunks == (
        n_layers,
        8,
        n_units,
    )


@pytest.mark.parametrize(
    "fault", ["missing", "more", "swapped", "no manifest", "torn manifest", "not an object"]
)
def test_other_damage_is_found_too(made, store, fault):
    first, whole = get(made, store), contents(store)
    folder = store.root / store.keys()[0]
    chunks = folder / "features.zarr/features/c"
    if fault == "missing":
        (chunks / "0/0/0").unlink()
    if fault == "more":
        (chunks / "0/0/1").touch()
    if fault == "swapped":
        (chunks / "0/0/0").rename(folder / "x")
        (chunks / "0/1/0").rename(chunks / "0/0/0")
        (folder / "x").rename(chunks / "0/1/0")
    if fault == "no manifest":
        (folder / "manifest.json").unlink()
    if fault == "torn manifest":
        (folder / "manifest.json").write_text('{"spec":')
    if fault == "not an object":
        (folder / "manifest.json").write_text("[]")
    assert find_damage(folder)
    if fault == "no manifest":
        get(made, store)  # the folder is no entry; it gives way
    else:
        with pytest.warns(UserWarning, match="is damaged"):
            assert get(made, store).identical(first)
    assert contents(store) == whole


def test_an_entry_under_another_key_is_not_used(made, store):
    get(made, store)
    extract(made, stimuli(SIZE), pooling="last", store=store, progress=False)
    one, other = (store.root / key for key in store.keys())
    one.rename(store.root / "x"), other.rename(one), (store.root / "x").rename(other)
    assert list(store.verify().values()) == [["manifest.json belongs to another entry"]] * 2
    with pytest.warns(UserWarning, match="belongs to another entry"):
        assert get(made, store).identical(get(made, None))


def test_listing_survives_damage_and_rm_takes_a_beginning(made, store):
    get(made, store)
    extract(made, stimuli(SIZE), pooling="last", store=store, progress=False)
    first, second = store.keys()
    (store.root / first / "manifest.json").write_text("}")
    assert [row["model"] for row in store.ls()] == ["damaged", "microworld/llama"]
    for key, n in (("", 0), ("xyz", 0)):
        with pytest.raises(
            InputError, match=f"{n} entries .* begin with {key!r}: name exactly one"
        ):
            store.rm(key)
    store.rm(first[:12])
    assert store.keys() == [second]
    with pytest.raises(InputError, match="0 entries"):
        store.rm(first)
    (store.root / f"{second[:1]}0.partial").mkdir()
    with pytest.raises(InputError, match="2 entries"):
        store.rm(second[:1])


def test_rm_removes_what_a_killed_run_left(made, store, monkeypatch):
    monkeypatch.setattr(st.Writer, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        get(made, store)
    assert not store.keys() and contents(store)
    store.rm(next(store.root.glob("*.partial")).stem)
    assert not contents(store)


def test_removing_everything_leaves_nothing_of_any_run(made, store, monkeypatch):
    get(made, store)
    get(made, store, 20)
    Results(store.root / "results")(kept, 3)
    torn = store.root / "results" / f".{'c' * 64}.safetensors.x7"  # as a kill leaves it
    torn.write_text("half")
    (store.root / f"{'a' * 64}.notes").write_text("left by a kill after the entry was finished")
    monkeypatch.setattr(st.Writer, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        get(made, store, 10)
    (store.root / "mine.txt").write_text("a file of the user's")
    finished = store.keys()
    keys, n_results = store.clear()
    assert set(finished) < set(keys) and len(keys) == 4 and n_results == 2
    assert list(contents(store)) == ["mine.txt"] and store.clear() == ([], 0)


def kept(n: int) -> int:
    return n


def test_notes_that_a_kill_left_beside_a_finished_entry_are_removed(made, store, monkeypatch):
    undisturbed = get(made, store)
    (key,) = store.keys()
    (store.root / f"{key}.notes").write_text("left")
    store.rm(key)
    assert not contents(store)
    replace = os.replace

    def killed(*args) -> None:
        replace(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):  # between the entry's last two steps
        get(made, store)
    monkeypatch.setattr(os, "replace", replace)
    assert store.keys() == [key] and (store.root / f"{key}.notes").exists()
    assert get(made, store).identical(undisturbed)
    store.rm(key)
    assert not contents(store)


def forbidden(*args, **kwargs):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "the store")


def test_a_store_that_may_only_be_read_is_read(made, store, monkeypatch):
    first = get(made, store)
    before = contents(store)
    monkeypatch.setattr("seeing_words.models.store.FileLock", forbidden)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    monkeypatch.setattr(Path, "unlink", forbidden)
    passes = count(made)
    assert get(made, store).identical(first) and not passes
    np.testing.assert_array_equal(get(made, store, layers=(-1,))[0], first[-1])
    with pytest.raises(InputError, match="lacks these features and cannot be written to"):
        get(made, store, 20)
    assert contents(store) == before


def as_another_user(made, store: Store) -> None:
    os.setgid(65534)
    os.setuid(65534)  # nobody
    assert get(made, store).sizes["stimulus"] == SIZE
    try:
        get(made, store, 20)
    except InputError as error:
        os._exit(0 if "cannot be written to" in str(error) else 3)
    os._exit(4)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_users_store_is_read(made, store, tmp_path):
    get(made, store)
    for path in [tmp_path, *tmp_path.parents]:
        if path.is_relative_to(f"{tempfile.gettempdir()}/pytest-of-{getpass.getuser()}"):
            path.chmod(0o755)
    child = multiprocessing.get_context("fork").Process(target=as_another_user, args=(made, store))
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize(
    "content", ["", "[]", '{"spec": 3}', '{"spec": {"model": 3}}', "[" * 9999, "\0"]
)
def test_a_listing_survives_any_manifest(made, store, content):
    get(made, store)
    (manifest,) = store.root.glob("*/manifest.json")
    manifest.write_text(content)
    (row,) = store.ls()
    assert {row[name] for name in st.SPEC} == {"damaged"}
    assert list(store.verify().values())[0]


def test_weights_that_were_changed_in_place_are_not_read_under_their_old_name(store):
    made = model(KIND, store.root.parent / "models")
    before = get(made, store)
    with torch.no_grad():
        next(made.network.parameters()).mul_(2)
    for use in (lambda: get(made, store), lambda: fingerprint(made)):
        with pytest.raises(InputError, match="were changed after it was made"):
            use()
    alone = extract(made, stimuli(SIZE), pooling="mean", progress=False)
    assert not np.allclose(alone, before)


def test_an_empty_or_absent_store_has_nothing(store):
    assert store.keys() == [] and store.ls() == [] and store.verify() == {}


def test_a_run_resumes_at_the_block_it_reached(made, store, tmp_path, monkeypatch):
    undisturbed = Store(tmp_path / "undisturbed")
    get(made, undisturbed)
    put, done = st.Writer.put, []

    def stop_after_three(self, start, block):
        if len(done) == 3:
            raise KeyboardInterrupt
        put(self, start, block)
        done.append(start)

    monkeypatch.setattr(st.Writer, "put", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        get(made, store)
    assert not store.keys() and done == [0, 8, 16]
    monkeypatch.setattr(st.Writer, "put", put)
    passes = count(made)
    get(made, store)
    assert len(passes) == 2 and contents(store) == contents(undisturbed)


@pytest.mark.parametrize(
    "fault", ["chunk", "layout", "note", "torn chunk", "torn note", "other block size"]
)
def test_what_a_killed_run_left_is_used_only_if_it_is_as_noted(
    made, store, tmp_path, monkeypatch, fault
):
    undisturbed = Store(tmp_path / "undisturbed")
    get(made, undisturbed)
    monkeypatch.setattr(st.Writer, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    if fault == "other block size":
        monkeypatch.setattr(st, "BLOCK", 5)
    with pytest.raises(KeyboardInterrupt):
        get(made, store)
    monkeypatch.undo()
    monkeypatch.setattr(st, "BLOCK", 8)
    partial, notes = next(store.root.glob("*.partial")), next(store.root.glob("*.notes"))
    chunk = partial / "features.zarr/features/c/0/2/0"

    def flip(path, place):
        data = bytearray(path.read_bytes())
        data[place] ^= 4
        path.write_bytes(data)

    if fault == "chunk":
        flip(chunk, 100)
    if fault == "layout":
        flip(partial / "features.zarr/features/zarr.json", 60)
    if fault == "note":
        flip(notes, -9)
    if fault == "torn chunk":
        (chunk.parent / "0.1234.partial").write_bytes(b"half")
    if fault == "torn note":
        notes.write_bytes(notes.read_bytes()[:-20])
    get(made, store)
    assert contents(store) == contents(undisturbed)


def _fill(root: str, models: str, n: int) -> None:
    st.BLOCK = 8
    fill_store(root, models, KIND, n)


def start(store: Store, tmp_path, n=400) -> BaseProcess:
    "A process that fills a store; a fork, which need not import PyTorch again."
    run = multiprocessing.get_context("fork").Process(
        target=_fill, args=(str(store.root), str(tmp_path / "models"), n)
    )
    run.start()
    return run


def n_notes(store: Store) -> int:
    return sum(p.read_text().count("\n") for p in store.root.glob("*.notes"))


def test_kill_9_at_random_points_and_a_rerun_give_the_bytes_of_an_undisturbed_run(
    made, store, tmp_path
):
    undisturbed = Store(tmp_path / "undisturbed")
    fill_store(str(undisturbed.root), str(tmp_path / "models"), KIND, 400)
    rng = random.Random(0)
    killed = 0
    for until in (2, 30, 60, 90):  # of 102 notes: layout and 50 blocks of either pooling
        run, deadline = start(store, tmp_path), time.monotonic() + 60
        while n_notes(store) < until and run.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        run.kill()
        run.join()
        killed += run.exitcode == -signal.SIGKILL
        assert all(not found for found in store.verify().values())
    assert killed >= 3
    fill_store(str(store.root), str(tmp_path / "models"), KIND, 400)
    assert contents(store) == contents(undisturbed)


def test_two_parallel_processes_write_one_sound_entry(made, store, tmp_path):
    undisturbed = Store(tmp_path / "undisturbed")
    fill_store(str(undisturbed.root), str(tmp_path / "models"), KIND, 400)
    runs = [start(store, tmp_path) for _ in range(2)]
    for run in runs:
        run.join(100)
        assert run.exitcode == 0  # a warning would be an error
    assert contents(store) == contents(undisturbed)


def test_poolings_in_opposite_order_do_not_lock_each_other_out(made, store):
    order, real = [], Store.lock
    for poolings in (("mean", "last"), ("last", "mean")):
        taken = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Store,
                "lock",
                lambda self, spec, taken=taken: taken.append(spec["pooling"]) or real(self, spec),
            )
            extract_many(made, stimuli(SIZE), poolings, store=store, progress=False)
        order.append(taken)
        store.clear()
    assert order[0] == order[1] and sorted(order[0]) == ["last", "mean"]


def _starve(root: str, models: str, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    st.BLOCK = 64  # chunks of 4096 bytes
    with pytest.raises(
        InputError,
        match="no space left for the feature store at .*: free some space, or set "
        "SEEING_WORDS_STORE",
    ):
        fill_store(root, models, KIND, 100)


@pytest.mark.parametrize("limit", [40, 4095])
def test_where_no_file_may_grow_it_says_so_and_leaves_nothing_half_written(
    made, store, tmp_path, limit
):
    child = multiprocessing.get_context("fork").Process(
        target=_starve, args=(str(store.root), str(tmp_path / "models"), limit)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0 and store.keys() == []
    st.BLOCK = 64  # the fixture sets it back
    fill_store(str(store.root), str(tmp_path / "models"), KIND, 100)
    assert len(store.keys()) == 2 and not any(store.verify().values())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("at", ["_note", "put", "finish"])
def test_a_full_disk_is_said_and_the_next_run_completes(
    made, store, tmp_path, monkeypatch, code, at
):
    undisturbed = Store(tmp_path / "undisturbed")
    get(made, undisturbed)
    real, calls = getattr(st.Writer, at), []

    def full(self, *args):
        calls.append(1)
        if at == "finish" or len(calls) == 3:
            raise OSError(code, os.strerror(code))
        return real(self, *args)

    monkeypatch.setattr(st.Writer, at, full)
    with pytest.raises(InputError, match="no space left.*the next run continues from there"):
        get(made, store)
    assert store.keys() == []
    monkeypatch.setattr(st.Writer, at, real)
    get(made, store)
    assert contents(store) == contents(undisturbed)


def test_other_errors_of_the_system_keep_their_own_words(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        get(made, Store(tmp_path / "file"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(5, 64, 16), (3, 9, 7), (5, 9, 2**17)])
def test_what_is_written_is_byte_by_byte_what_zarr_writes(tmp_path, shape, dtype):
    values = np.random.default_rng(0).normal(size=shape).astype(dtype)
    writer = st.Writer(tmp_path / "ours.partial", shape, dtype)
    writer.start()
    for start in range(0, shape[1], st.BLOCK):
        writer.put(start, values[:, start : start + st.BLOCK])
    ours = zarr.open_array(tmp_path / "ours.partial/features.zarr/features", mode="r")
    theirs = zarr.create_group(tmp_path / "theirs").create_array(
        "features",
        shape=shape,
        chunks=ours.chunks,
        dtype=dtype,
        compressors=None,
        dimension_names=("layer", "stimulus", "unit"),
    )
    theirs[:] = values
    np.testing.assert_array_equal(ours[:], values)
    folders = tmp_path / "ours.partial/features.zarr", tmp_path / "theirs"
    held = [
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in folders
    ]
    assert held[0] == held[1]


@pytest.mark.parametrize(
    ("dtype", "filters", "match"),
    [
        ("|O", ["vlen-utf8", "pickle"], "needs the codec 'pickle', which is never run"),
        ("|O", ["pickle"], "cannot be used: .*'object_codec_id': 'pickle'"),
        ("<f8", ["pickle"], "cannot be used: .*'object_codec_id': 'pickle'"),
    ],
)
def test_an_entry_whose_decoding_would_run_a_pickle_is_refused_before_it_is_decoded(
    store, tmp_path, dtype, filters, match
):
    ran, spec = tmp_path / "ran", {"model": "somebody's"}

    class Harm:
        def __reduce__(self):
            return open, (str(ran), "w")

    folder = store.folder(spec)
    array = folder / "features.zarr/features"
    array.mkdir(parents=True)
    (folder / "features.zarr/.zgroup").write_text(json.dumps({"zarr_format": 2}))
    about = {
        "zarr_format": 2,
        "shape": [2, 20, 3],
        "chunks": [2, 20, 3],
        "dtype": dtype,
        "order": "C",
        "fill_value": "" if dtype == "|O" else 0,
        "compressor": None,
        "filters": [{"id": name} for name in filters],
    }
    (array / ".zarray").write_text(json.dumps(about))
    (array / "0.0.0").write_bytes(pickle.dumps(Harm()))
    (folder / "manifest.json").write_text(st._manifest(spec, st._files(folder)))
    assert not find_damage(folder)  # the checksums are right: only the codec gives it away
    with pytest.raises(InputError, match=match):
        store.read(spec)
    assert not ran.exists()


def removed_by_command(store, key):
    store.rm(key)


def removed_by_hand(store, key):
    next((store.root / key).glob("features.zarr/features/c/*/*/*")).unlink()


def replaced(store, key):
    store.rm(key)
    get(model(KIND, store.root.parent / "again"), store)


@pytest.mark.parametrize("meanwhile", [removed_by_command, removed_by_hand, replaced])
def test_an_entry_that_is_removed_while_it_is_read_is_never_read_as_zeros(
    made, store, monkeypatch, meanwhile
):
    get(made, store)
    (key,) = store.keys()
    spec = json.loads((store.root / key / "manifest.json").read_text())["spec"]
    check_codecs = st.check_codecs

    def then(array):
        monkeypatch.setattr(st, "check_codecs", check_codecs)  # blocks stay as small as they are
        meanwhile(store, key)  # after the files were verified, before they are read
        return check_codecs(array)

    monkeypatch.setattr(st, "check_codecs", then)
    with pytest.raises(InputError, match="was removed or replaced while it was read"):
        store.read(spec)


def test_what_a_killed_removal_left_is_cleared(made, store, monkeypatch):
    get(made, store)
    monkeypatch.setattr(st.shutil, "rmtree", lambda *args, **kwargs: None)  # killed before
    store.rm(*store.keys())
    monkeypatch.undo()
    assert store.keys() == [] and contents(store)
    store.clear()
    assert not contents(store)
