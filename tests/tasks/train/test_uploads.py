"""A training whose artifact is not local can go on elsewhere, and nothing is sent there twice."""

from __future__ import annotations

from pathlib import Path

from storage.artifact import file_entries
from storage.uri import exists, read_bytes, size, write_bytes
from tasks.train.uploads import fetch_logs, upload, upload_logs


def test_logs_come_back_on_another_machine(tmp_path: Path) -> None:
    out = f"memory://{tmp_path.name}/train/x"
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    for name, text in (("job.json", "{}"), ("metrics.jsonl", "rows"), ("torchrun.log", "no log of training")):
        (here / name).write_text(text)
    upload_logs(out, here)
    assert not exists(f"{out}/torchrun.log")
    fetch_logs(out, elsewhere)
    assert (elsewhere / "metrics.jsonl").read_text() == "rows"
    (here / "metrics.jsonl").write_text("newer rows")
    fetch_logs(out, here)
    assert (here / "metrics.jsonl").read_text() == "newer rows", "what is here is what training goes on from"


def test_only_what_the_trainer_has_not_copied_is_uploaded(tmp_path: Path) -> None:
    out = f"memory://{tmp_path.name}/train/y"
    names = ["checkpoints/step-00000002/a", "checkpoints/step-00000002/b", "metrics.jsonl"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("local")
    write_bytes(f"{out}/{names[0]}", b"there!"[:5])
    write_bytes(f"{out}/{names[1]}", b"half")
    upload(out, tmp_path, file_entries(str(tmp_path), names), f"{out}/checkpoints")
    assert [read_bytes(f"{out}/{name}") for name in names] == [b"there", b"local", b"local"]
    upload(out, tmp_path, file_entries(str(tmp_path), names), None)
    assert read_bytes(f"{out}/{names[0]}") == b"local", "without a mirror everything is"


def test_a_local_artifact_needs_no_copy(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    out = tmp_path / "out"
    upload_logs(str(out), tmp_path)
    upload(str(out), tmp_path, file_entries(str(tmp_path), ["job.json"]), None)
    assert size(str(out / "job.json")) is None
