"""Records, tombstones, links and pruning on a real S3 server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows import prune
from flows.config import load_run
from flows.inventory import files_below
from flows.plan import make_plan
from flows.prune import plan_prune, remove_pruned
from flows.records import kept_runs, record_run
from storage.artifact import new_file, read_manifest
from storage.lease import hold
from storage.tombstones import add_tombstones, read_tombstones
from storage.uri import filesystem, link, read_bytes, write_bytes
from tests.flows.conftest import write_run
from tests.flows.small_root import complete
from tests.storage.test_s3 import s3_root

__all__ = ["s3_root"]
pytestmark = pytest.mark.slow


def test_a_root_on_s3_is_pruned_like_a_folder(s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"{s3_root}/prune"
    run = load_run(write_run(tmp_path), root=root)
    plans = []
    for seed in (1, 2):
        changed = run.model_copy(update={"seed": seed})
        plan = make_plan(changed)
        record_run(changed, plan, None, "run.yaml")
        for stage in (plan.curate, plan.expand):  # expand's tokenizer is drawn with the seed
            with new_file(stage.uri, "documents/data") as file:
                file.write(b"x" * 1000)
            complete(stage)
        plans.append(plan)
    assert [record.rerun(root) for record in kept_runs(root)] == [f"hibari run run.yaml --root {root}"]
    before, after = plans
    fs, path = filesystem(f"{before.curate.uri}/documents/begun")
    bucket, key, _ = fs.split_path(path)
    upload = fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
    found = plan_prune(root)
    assert [(leftover.kind, leftover.uri) for leftover in found.remove] == [("artifact", before.expand.uri)]
    assert found.num_bytes > 1000
    monkeypatch.setattr(prune, "STALE", timedelta(0))
    found = plan_prune(root)
    assert [(leftover.kind, leftover.upload) for leftover in found.remove] == [("artifact", ""), ("upload", upload)]
    assert remove_pruned(found) == []
    assert not any(entry.size for entry in files_below(before.expand.uri))
    assert plan_prune(root).remove == []
    assert fs.list_multipart_uploads(bucket) == []
    assert read_manifest(after.expand.uri)
    assert read_manifest(after.curate.uri)
    with hold(f"{after.expand.uri}.lease", "tiny"):
        held = plan_prune(root, forget=["tiny"])
        assert [uri for uri, why in held.leave if why.startswith("in use by run tiny")] == [after.expand.uri]


def test_tombstones_and_links_are_kept_on_s3(s3_root: str) -> None:
    root = f"{s3_root}/takedown"
    assert read_tombstones(root) == []
    added = add_tombstones(root, ["host:a.jp"], reason="", list_digest="1")
    added += add_tombstones(root, ["host:b.jp"], reason="", list_digest="2")
    assert read_tombstones(root) == added
    write_bytes(f"{root}/a", b"1")
    link(f"{root}/a", f"{root}/deep/b")
    assert read_bytes(f"{root}/deep/b") == b"1"
