"""`data pull` against a loopback server that is well, broken, slow or lying."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nasbench_kd.errors import DataError, UnknownNameError
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.sources.pull import Transfer, fetch, pull
from nasbench_kd.tables.hardware import HardwareCosts

NATS = SOURCES["nats-bench-test"]


def installed(folder: Path) -> list[str]:
    """Everything in the folder but the workshop of downloads and the locks."""
    return sorted(
        path.name for path in folder.iterdir() if path.name != "downloads" and path.suffix != ".lock"
    )


def pull_nats(mirror, folder: Path, **options: object) -> dict[str, Path]:
    return pull(["nats-bench-test"], folder=folder, base=mirror.base, pause=0.01, **options)


def test_installs_and_leaves_nothing_behind(mirror, tmp_path):
    seen = []
    pull_nats(mirror, tmp_path, progress=lambda file, have: seen.append((file.path, have)))
    assert installed(tmp_path) == ["nats-bench-test"]
    assert list((tmp_path / "downloads").iterdir()) == []
    assert seen[-1] == ("nats_bench.csv", 3_024_008)
    assert [have for _, have in seen] == sorted(have for _, have in seen)


def test_installed_source_is_left_alone_unless_forced(mirror, tmp_path):
    pull_nats(mirror, tmp_path)
    pull_nats(mirror, tmp_path)
    assert len(mirror.requests) == 1
    pull_nats(mirror, tmp_path, force=True)
    assert len(mirror.requests) == 2
    assert installed(tmp_path) == ["nats-bench-test"]


def test_every_pin_matches_the_mirror(mirror, tmp_path):
    listed = dict(
        reversed(line.split()) for line in (mirror.folder / "SHA256SUMS").read_text().splitlines() if line
    )
    for source in SOURCES.values():
        for file in () if source.optional else source.files:
            assert listed[file.place] == file.checksum
            assert (mirror.folder / file.place).stat().st_size == file.size


@pytest.mark.parametrize("fault", ["cut", 503, 429])
def test_passing_faults_are_tried_again(mirror, tmp_path, fault):
    mirror.faults = [fault]
    pull_nats(mirror, tmp_path)
    assert installed(tmp_path) == ["nats-bench-test"]


def test_cut_download_is_resumed_where_it_stopped(mirror, tmp_path):
    mirror.faults = ["cut"]
    pull_nats(mirror, tmp_path)
    assert [wanted for _, wanted in mirror.requests] == [None, f"bytes={3_024_008 // 2}-"]


def test_download_is_resumed_by_a_later_call(mirror, tmp_path):
    mirror.faults = ["cut", 500, 500, 500]
    with pytest.raises(DataError, match="answers 500"):
        pull_nats(mirror, tmp_path)
    assert installed(tmp_path) == []
    mirror.requests.clear()
    pull_nats(mirror, tmp_path)
    assert [wanted for _, wanted in mirror.requests] == [f"bytes={3_024_008 // 2}-"]


def test_server_without_ranges_starts_afresh(mirror, tmp_path):
    mirror.ranges, mirror.faults = False, ["cut"]
    pull_nats(mirror, tmp_path)
    assert installed(tmp_path) == ["nats-bench-test"]


def test_silent_connection_is_left_and_resumed(mirror, tmp_path):
    mirror.faults = ["silent"]
    pull_nats(mirror, tmp_path, timeout=0.3)
    assert len(mirror.requests) == 2
    assert mirror.requests[1][1] is not None


def test_connection_that_stays_silent_is_an_error(mirror, tmp_path):
    mirror.faults = ["silent"] * 10
    with pytest.raises(DataError, match="TimeoutError"):
        pull_nats(mirror, tmp_path, timeout=0.1)
    assert installed(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-10] + b"0123456789", "pinned bytes"),
        (lambda data: data + b"more", "pinned bytes"),
        (lambda data: data[:1000], "ends after 1000 of 3024008 bytes"),
        (lambda data: b"", "ends after 0 of 3024008 bytes"),
    ],
)
def test_other_bytes_are_refused(mirror, tmp_path, change, message):
    mirror.change = {"nats_bench.csv": change}
    with pytest.raises(DataError, match=message) as caught:
        pull_nats(mirror, tmp_path)
    assert "Nothing was installed" in str(caught.value)
    assert installed(tmp_path) == []


def test_altered_part_of_an_earlier_download_is_thrown_away(mirror, tmp_path):
    file = NATS.files[0]
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / f"{file.checksum}.part").write_bytes(b"x" * 1000)
    pull_nats(mirror, tmp_path)
    assert installed(tmp_path) == ["nats-bench-test"]


def test_missing_file_is_an_error_at_once(mirror, tmp_path):
    mirror.faults = [404]
    with pytest.raises(DataError, match="answers 404"):
        pull_nats(mirror, tmp_path)
    assert len(mirror.requests) == 1
    assert installed(tmp_path) == []


def test_source_with_one_missing_file_is_not_installed_in_part(mirror, tmp_path):
    mirror.change = {"hw_ImageNet16-120.csv": lambda data: data[:100]}
    with pytest.raises(DataError, match=r"hw_ImageNet16-120\.csv"):
        pull(["hw-nas-bench"], folder=tmp_path, base=mirror.base, pause=0.01)
    assert installed(tmp_path) == []


def fail(files: tuple[Path, ...], folder: Path) -> None:
    (folder / "card.json").write_text("{}")
    raise DataError("conversion failed")


def test_failed_conversion_keeps_what_was_installed(mirror, tmp_path, monkeypatch):
    pull_nats(mirror, tmp_path)
    before = (tmp_path / "nats-bench-test" / "card.json").read_bytes()

    broken = {NATS.name: replace(NATS, convert=fail)}
    monkeypatch.setattr("nasbench_kd.sources.pull.SOURCES", broken)
    with pytest.raises(DataError, match="conversion failed"):
        pull_nats(mirror, tmp_path, force=True)
    assert (tmp_path / "nats-bench-test" / "card.json").read_bytes() == before
    assert [path for path in (tmp_path / "downloads").iterdir() if path.is_dir()] == []


def test_offline_message_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="NASBENCH_KD_MIRROR") as caught:
        pull(["nats-bench-test"], folder=tmp_path, base="http://127.0.0.1:9", pause=0.001)
    assert NATS.files[0].place in str(caught.value)
    assert "ConnectionRefusedError" in str(caught.value)


def test_mirror_may_be_a_folder_named_by_the_environment(reference, tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_MIRROR", str(reference / "mirror"))
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path / "data"))
    assert pull(["nats-bench-test"]) == {"nats-bench-test": tmp_path / "data" / "nats-bench-test"}


def test_unknown_source_names_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'nats-bench-test'"):
        pull(["nats-bench-tests"], folder=tmp_path)


def test_fetch_returns_the_pinned_bytes(mirror, tmp_path):
    file = SOURCES["nb201-12-epochs"].files[0]
    path = fetch(file, tmp_path, Transfer(mirror.base))
    assert path.read_bytes() == (mirror.folder / file.place).read_bytes()


def test_pickle_that_asks_for_code_is_refused(tmp_path):
    from nasbench_kd.sources.nb201_12_epochs import read_frame

    class Evil:
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "evil.pd").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="mkdir"):
        read_frame(tmp_path / "evil.pd")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x05N.", b"garbage", pickle.dumps({"a": 1})])
def test_pickle_of_something_else_is_refused(tmp_path, data):
    from nasbench_kd.sources.nb201_12_epochs import read_frame

    (tmp_path / "other.pd").write_bytes(data)
    with pytest.raises(DataError, match=r"other\.pd"):
        read_frame(tmp_path / "other.pd")


@pytest.mark.parametrize("fault", ["drip", "drip headers"])
def test_a_server_that_drips_is_left_at_the_limit(mirror, tmp_path, fault):
    mirror.faults = [fault]
    with pytest.raises(DataError, match=r"took more than 0\.5 s"):
        pull_nats(mirror, tmp_path, limit=0.5)
    assert installed(tmp_path) == []
    pull_nats(mirror, tmp_path)
    assert installed(tmp_path) == ["nats-bench-test"]


@pytest.mark.parametrize("damage", ["empty", "truncated", "without rows"])
def test_a_damaged_folder_is_not_installed(mirror, tmp_path, damage):
    folder = pull_nats(mirror, tmp_path)["nats-bench-test"]
    rows = folder / "entries.npy"
    whole = rows.read_bytes()
    if damage == "truncated":
        rows.write_bytes(whole[: len(whole) // 2])
    else:
        rows.unlink()
    if damage == "empty":
        (folder / "card.json").unlink()
    pull_nats(mirror, tmp_path)
    assert rows.read_bytes() == whole


def test_two_pulls_at_once_end_well(mirror, tmp_path):
    script = "import sys; from nasbench_kd.sources.pull import pull; pull(['hw-nas-bench'], base=sys.argv[1])"
    environment = {**os.environ, "NASBENCH_KD_DATA": str(tmp_path)}
    pulls = [subprocess.Popen([sys.executable, "-c", script, mirror.base], env=environment) for _ in range(2)]
    assert [process.wait() for process in pulls] == [0, 0]
    assert len(mirror.requests) == 3  # one for each file: the second pull waited, and found them installed
    HardwareCosts.open(tmp_path / "hw-nas-bench")
