"""Fetching and verifying the benchmarks' files, against a real server on the loopback interface."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import filelock
import pytest
from file_server import FileServer, serve
from hypothesis import given
from hypothesis import strategies as st

from tuna_eval.datasets import Progress, cached, fetch, verify
from tuna_eval.download import ATTEMPTS, download, sha256_of
from tuna_eval.errors import DataError
from tuna_eval.manifests import DataFile, Manifest, load_manifest

CONTENT = {f"src/{name}.json": json.dumps({"name": name, "text": name * 20_000}).encode() for name in ("a", "b", "c")}
A = CONTENT["src/a.json"]


@pytest.fixture(autouse=True)
def tuna_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as running:
        yield running


@pytest.fixture
def manifest(server: FileServer) -> Manifest:
    files = tuple(DataFile(f"tasks/{name}.json", f"src/{name}.json") for name in ("a", "b", "c"))
    return replace(load_manifest("superni"), base_url=server.url, files=files)


def only_a(manifest: Manifest, sha256: str = "") -> Manifest:
    return replace(manifest, files=(DataFile("tasks/a.json", "src/a.json", sha256),))


def under_final_names(manifest: Manifest) -> set[str]:
    return {file.path for file in manifest.files if (cached(manifest) / file.path).exists()}


def one_line(fault: pytest.ExceptionInfo[DataError]) -> str:
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_fetch_brings_everything_and_asks_for_nothing_twice(server: FileServer, manifest: Manifest) -> None:
    heard: list[Progress] = []
    found = fetch(manifest, heard.append)
    assert found.is_complete
    assert found.ok == tuple(file.path for file in manifest.files)
    for file in manifest.files:
        assert (cached(manifest) / file.path).read_bytes() == CONTENT[file.source]
    assert {progress.path for progress in heard} == set(found.ok)
    assert heard[-1].files_done == heard[-1].files_total == 3
    assert fetch(manifest) == found
    assert sum(server.asked().values()) == 3


def test_a_cut_transfer_is_resumed_where_it_broke(server: FileServer, manifest: Manifest) -> None:
    server.cut["src/a.json"] = 2
    assert fetch(only_a(manifest), pause=0.001).is_complete
    half = len(A) // 2
    assert [wanted for _, wanted in server.requests] == ["", f"bytes={half}-", f"bytes={half + (len(A) - half) // 2}-"]
    assert (cached(manifest) / "tasks/a.json").read_bytes() == A


def test_a_server_without_ranges_starts_over(server: FileServer, manifest: Manifest) -> None:
    server.ranges = False
    server.cut["src/a.json"] = 1
    assert fetch(only_a(manifest), pause=0.001).is_complete
    assert (cached(manifest) / "tasks/a.json").read_bytes() == A


def test_a_transfer_that_always_breaks_is_given_up_and_can_be_resumed(server: FileServer, manifest: Manifest) -> None:
    server.cut["src/a.json"] = ATTEMPTS
    with pytest.raises(DataError) as fault:
        fetch(only_a(manifest), pause=0.001)
    assert f"of {len(A)} bytes ({ATTEMPTS} attempts)" in one_line(fault)
    assert f"{server.url}/src/a.json" in one_line(fault)
    assert server.asked()["src/a.json"] == ATTEMPTS
    assert under_final_names(manifest) == set()
    assert fetch(only_a(manifest)).is_complete
    assert server.requests[-1][1] != ""
    assert (cached(manifest) / "tasks/a.json").read_bytes() == A


@given(have=st.integers(0, 60), spoiled=st.booleans())
def test_whatever_the_partial_file_holds_the_result_is_right(
    tmp_path_factory: pytest.TempPathFactory, have: int, spoiled: bool
) -> None:
    content = b'{"text": "forty-odd bytes of a small JSON file"}'
    part = tmp_path_factory.mktemp("any") / "x.json.part"
    part.write_bytes((b"x" if spoiled else b"") * have + content[:have] * (not spoiled))
    with serve({"x.json": content}) as server:
        digest = download(f"{server.url}/x.json", part, sha256=hashlib.sha256(content).hexdigest(), pause=0.0)
    assert digest == sha256_of(part)
    assert part.read_bytes() == content


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: FileServer, manifest: Manifest, status: int) -> None:
    server.statuses["src/a.json"] = [status, status]
    assert fetch(only_a(manifest), pause=0.001).is_complete
    assert server.asked()["src/a.json"] == 3


def test_a_server_that_stays_broken_is_given_up(server: FileServer, manifest: Manifest) -> None:
    server.statuses["src/a.json"] = [500] * 100
    with pytest.raises(DataError) as fault:
        fetch(only_a(manifest), pause=0.001)
    assert f"the server answered 500 Internal Server Error ({ATTEMPTS} attempts)" in one_line(fault)
    assert server.asked()["src/a.json"] == ATTEMPTS


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(server: FileServer, manifest: Manifest, status: int) -> None:
    server.statuses["src/a.json"] = [status] * 100
    with pytest.raises(DataError) as fault:
        fetch(only_a(manifest))
    assert f"{server.url}/src/a.json: the server answered {status}" in one_line(fault)
    assert server.asked()["src/a.json"] == 1


def test_one_missing_file_is_named_and_the_others_are_kept(server: FileServer, manifest: Manifest) -> None:
    whole = fetch(replace(manifest, files=manifest.files[:2]))
    del server.files["src/c.json"]
    with pytest.raises(DataError, match=r"src/c\.json: the server answered 404"):
        fetch(manifest)
    assert under_final_names(manifest) == set(whole.ok)
    assert verify(manifest).missing == ("tasks/c.json",)


def test_a_web_page_is_refused_at_once(server: FileServer, manifest: Manifest) -> None:
    server.files["src/a.json"] = b"<html>please log in</html>"
    server.types["src/a.json"] = "text/html; charset=utf-8"
    with pytest.raises(DataError, match="web page instead of the file"):
        fetch(only_a(manifest))
    assert server.asked()["src/a.json"] == 1
    assert under_final_names(manifest) == set()


@pytest.mark.parametrize("content", [b"<html>no type told</html>", A[:1000], b"", b"\xff\xfe"])
def test_what_is_no_json_is_never_locked(server: FileServer, manifest: Manifest, content: bytes) -> None:
    server.files["src/a.json"] = content
    with pytest.raises(DataError, match="not JSON"):
        fetch(only_a(manifest))
    assert under_final_names(manifest) == set()
    server.files["src/a.json"] = A
    assert fetch(only_a(manifest)).is_complete


def test_json_lines_are_checked_line_by_line(server: FileServer, manifest: Manifest) -> None:
    lines = replace(manifest, files=(DataFile("x.jsonl", "x.jsonl"),))
    server.files["x.jsonl"] = b'{"a": 1}\n{"a": \n'
    with pytest.raises(DataError, match="not JSON"):
        fetch(lines)
    server.files["x.jsonl"] = b'{"a": 1}\n\n{"a": "\xe2\x80\xa8"}\n'
    assert fetch(lines).is_complete


def test_a_server_that_is_not_there(manifest: Manifest) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = replace(manifest, base_url=f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(DataError, match=r"cannot be reached: .*refused"):
            fetch(nowhere, pause=0.001)


def test_two_fetches_at_once_do_not_mix(manifest: Manifest) -> None:
    cached(manifest).mkdir(parents=True)
    with (
        filelock.FileLock(cached(manifest) / ".lock"),
        pytest.raises(DataError, match="another process is fetching these files"),
    ):
        fetch(manifest)
    assert fetch(manifest).is_complete


FETCH = """
import sys
from dataclasses import replace
from tuna_eval.datasets import fetch
from tuna_eval.manifests import DataFile, load_manifest
files = tuple(DataFile(f"tasks/{i}.json", f"{i}.json") for i in range(40))
fetch(replace(load_manifest("superni"), base_url=sys.argv[1], files=files))
"""


@pytest.mark.parametrize("requests_before_the_kill", [1, 20])
def test_a_killed_fetch_leaves_only_whole_files_and_is_resumed(requests_before_the_kill: int) -> None:
    content = {f"{i}.json": json.dumps([i] * 300_000).encode() for i in range(40)}
    with serve(content) as server:
        files = tuple(DataFile(f"tasks/{i}.json", f"{i}.json") for i in range(40))
        manifest = replace(load_manifest("superni"), base_url=server.url, files=files)
        child = subprocess.Popen([sys.executable, "-c", FETCH, server.url])
        while len(server.requests) < requests_before_the_kill and child.poll() is None:
            time.sleep(0.001)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        found = verify(manifest)
        assert set(found.ok) == under_final_names(manifest) != {file.path for file in files}
        assert fetch(manifest).is_complete
    for file in files:
        assert (cached(manifest) / file.path).read_bytes() == content[file.source]
    assert all(server.asked()[Path(path).name] == 1 for path in found.ok)


def test_a_cache_that_cannot_be_written(manifest: Manifest, tuna_cache: Path) -> None:
    tuna_cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot write here: .*; set TUNA_CACHE"):
        fetch(manifest)


def test_the_manifests_checksum_holds_from_the_first_fetch(server: FileServer, manifest: Manifest) -> None:
    right = hashlib.sha256(A).hexdigest()
    assert fetch(only_a(manifest, right)).ok == ("tasks/a.json",)
    server.files["src/a.json"] = b'{"text": "changed upstream"}'
    (cached(manifest) / "tasks/a.json").unlink()
    with pytest.raises(DataError) as fault:
        fetch(only_a(manifest, right))
    assert f"expected {right}" in one_line(fault)
    assert under_final_names(manifest) == set()
    assert server.asked()["src/a.json"] == 2


def test_the_first_fetch_locks_a_checksum_that_later_ones_must_meet(server: FileServer, manifest: Manifest) -> None:
    fetch(manifest)
    locked = json.loads((cached(manifest) / "checksums.json").read_text())
    assert locked["sha256"] == {file.path: hashlib.sha256(CONTENT[file.source]).hexdigest() for file in manifest.files}
    (cached(manifest) / "tasks/a.json").unlink()
    server.files["src/a.json"] = b'{"text": "changed upstream"}'
    with pytest.raises(DataError, match=r"SHA-256 is .*, expected"):
        fetch(manifest)
    assert verify(manifest).missing == ("tasks/a.json",)


def test_a_changed_file_is_seen_and_mended(server: FileServer, manifest: Manifest) -> None:
    fetch(manifest)
    spoiled = cached(manifest) / "tasks/b.json"
    spoiled.write_bytes(spoiled.read_bytes()[:-5])
    found = verify(manifest)
    assert (found.ok, found.missing, found.changed) == (("tasks/a.json", "tasks/c.json"), (), ("tasks/b.json",))
    assert not found.is_complete
    assert fetch(manifest).is_complete
    assert server.asked() == {"src/a.json": 1, "src/b.json": 2, "src/c.json": 1}


def test_a_copy_without_checksums_is_called_unlocked(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/a.json").write_bytes(A)
    found = verify(manifest, tmp_path)
    assert (found.ok, found.unlocked, found.missing) == ((), ("tasks/a.json",), ("tasks/b.json", "tasks/c.json"))


def test_a_broken_list_of_checksums_is_an_error(manifest: Manifest) -> None:
    fetch(manifest)
    (cached(manifest) / "checksums.json").write_text("{")
    with pytest.raises(DataError, match="broken list of checksums"):
        verify(manifest)
