"""Images: archives, splits, augmentation, and the published teachers' accuracy on them."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.datasets import CIFAR100

from nasbench_kd.errors import DataError, UnknownNameError
from nasbench_kd.live.archives import read_cifar, read_imagenet16, read_packed, write_packed
from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.images import STATISTICS, Statistics, load_task, read_split, subset_order
from nasbench_kd.live.teacher import TeacherFile, load_teacher

CPU = torch.device("cpu")


def random_images(count: int, side: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return images, rng.integers(0, 4, count)


def test_packed_archive_goes_round_and_alteration_is_found(tmp_path):
    images, labels = random_images(1203, 8)
    path = tmp_path / "own.zip"
    write_packed(path, {"train": (images, labels)}, {"classes": 4})
    read, kinds = read_packed(path, "train")
    assert (read == images).all()
    assert (kinds == labels).all()
    with pytest.raises(DataError, match="no split 'valid'"):
        read_packed(path, "valid")
    altered = tmp_path / "altered.zip"
    other = tmp_path / "other.zip"
    write_packed(other, {"train": (images[::-1].copy(), labels)}, {"classes": 4})
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(other) as wrong,
        zipfile.ZipFile(altered, "w") as out,
    ):
        for name in source.namelist():
            out.writestr(name, (wrong if name.endswith("0000.png") else source).read(name))
    with pytest.raises(DataError, match="differ from their manifest"):
        read_packed(altered, "train")


def test_own_data_set_is_described_by_its_manifest(tmp_path):
    splits = {"train": random_images(20, 8), "valid": random_images(10, 8, 1)}
    about = {"classes": 4, "mean": [1, 2, 3], "std": [4, 5, 6], "padding": 1}
    write_packed(tmp_path / "own.zip", splits, about)
    task = load_task("own", tmp_path)
    assert task.statistics == Statistics(4, (1, 2, 3), (4, 5, 6), 1)
    assert len(task.train_labels) == 20
    assert len(task.valid_labels) == 10
    write_packed(tmp_path / "bare.zip", splits, {"classes": 4})
    with pytest.raises(DataError, match="lacks 'mean'"):
        load_task("bare", tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'cifar10'"):
        load_task("cifar1O", tmp_path)


def test_splits_are_those_of_nas_bench_201(reference):
    folder = reference / "splits"
    train = read_split(folder / "cifar-split.txt", "train")
    valid = read_split(folder / "cifar-split.txt", "valid")
    assert list(train[:5]) == [0, 5, 7, 11, 13]
    assert sorted([*train, *valid]) == list(range(50_000))
    for name, half in (("cifar100-test-split.txt", 5_000), ("imagenet-16-120-test-split.txt", 3_000)):
        both = [*read_split(folder / name, "xvalid"), *read_split(folder / name, "xtest")]
        assert sorted(both) == list(range(2 * half))
    with pytest.raises(DataError, match="AutoDL-Projects"):
        read_split(folder / "absent.txt", "train")
    with pytest.raises(DataError, match="'xvalid'"):
        read_split(folder / "cifar-split.txt", "xvalid")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"xvalid": [0, 1, 1], "xtest": [2]}, "twice"),
        ({"xvalid": [0, 1], "xtest": [1, 2]}, "twice"),
        ({"xvalid": [0, -1], "xtest": [2]}, "below 0"),
        ({"xvalid": [], "xtest": [2]}, "names 0 images"),
        ({"xvalid": [0, 6], "xtest": [2]}, "up to 6; there are 6"),
        ({"xvalid": [0, "a"]}, "not a NAS-Bench-201 split list"),
        ({"xtest": [0]}, "not a NAS-Bench-201 split list"),
    ],
)
def test_split_lists_name_each_image_once(tmp_path, lists, message):
    listed = {name: ["int", [str(value) for value in values]] for name, values in lists.items()}
    (tmp_path / "cifar100-test-split.txt").write_text(json.dumps(listed))
    write_packed(tmp_path / "cifar100.zip", {"train": random_images(9, 8), "test": random_images(6, 8)}, {})
    with pytest.raises(DataError, match=message):
        load_task("cifar100", tmp_path)


@pytest.mark.parametrize("labels", [[0, 1, 2, 4], [0, 1, 2, -1], [0.0, 1.0, 2.0, 3.0], [[0], [1], [2], [3]]])
def test_labels_are_classes(tmp_path, labels):
    images, _ = random_images(4, 8)
    about = {"classes": 4, "mean": [1, 2, 3], "std": [4, 5, 6], "padding": 1}
    wrong = (images, np.array(labels))
    write_packed(tmp_path / "own.zip", {"train": random_images(20, 8), "valid": wrong}, about)
    with pytest.raises(DataError, match="labels"):
        load_task("own", tmp_path)


def test_altered_labels_are_found(tmp_path):
    images, labels = random_images(20, 8)
    for name, kinds in (("own", labels), ("other", labels[::-1].copy())):
        write_packed(tmp_path / f"{name}.zip", {"train": (images, kinds)}, {"classes": 4})
    with (
        zipfile.ZipFile(tmp_path / "own.zip") as source,
        zipfile.ZipFile(tmp_path / "other.zip") as wrong,
        zipfile.ZipFile(tmp_path / "altered.zip", "w") as out,
    ):
        for name in source.namelist():
            out.writestr(name, (wrong if name.endswith("labels.npy") else source).read(name))
    with pytest.raises(DataError, match="differ from their manifest"):
        read_packed(tmp_path / "altered.zip", "train")


def pickled(content: object) -> bytes:
    return pickle.dumps(content, protocol=2)


@pytest.fixture
def published_cifar(tmp_path, monkeypatch):
    """An archive of CIFAR-100's layout with 20 images a file, served over loopback HTTP; its arrays."""
    rng = np.random.default_rng(0)
    held, listed = {}, {}
    packed = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in ("train", "test", "meta"):
            data, labels = rng.integers(0, 256, (20, 3072), dtype=np.uint8), rng.integers(0, 100, 20).tolist()
            held[name] = (data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels)
            names = [f"class {number}" for number in range(100)]
            content = pickled(
                {"fine_label_names": names} if name == "meta" else {"data": data, "fine_labels": labels}
            )
            listed[name] = hashlib.md5(content).hexdigest()
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(CIFAR100, "url", f"http://127.0.0.1:{server.server_port}/{packed.name}")
    monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR100, "train_list", [["train", listed["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", listed["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": listed["meta"]})
    yield held
    server.shutdown()
    server.server_close()


def test_torchvision_fetches_cifar_and_keeps_it(tmp_path, published_cifar):
    root = tmp_path / "images"
    with pytest.raises(DataError, match="allow the download"):
        read_cifar("cifar100", root, train=True, download=False)
    for name, download in (("train", True), ("test", False)):
        images, labels = read_cifar("cifar100", root, train=name == "train", download=download)
        assert (images == published_cifar[name][0]).all()
        assert labels.tolist() == published_cifar[name][1]


def test_a_download_that_fails_says_what_to_do(tmp_path, published_cifar, monkeypatch):
    monkeypatch.setattr(CIFAR100, "url", CIFAR100.url.replace("cifar-100-python", "absent"))
    with pytest.raises(DataError, match=r"could not be downloaded.*put torchvision's cifar-100-python into"):
        read_cifar("cifar100", tmp_path / "images", train=True, download=True)


def test_official_imagenet16_pickles_are_checked_and_cut_to_the_first_classes(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (30, 3 * 16 * 16), dtype=np.uint8)
    labels = rng.integers(1, 1001, 30)
    labels[:10] = np.arange(1, 11)
    content = pickled({"data": data, "labels": labels.tolist(), "mean": data.mean(0)})
    (tmp_path / "batch").write_bytes(content)
    checksums = {"train": {"batch": hashlib.md5(content).hexdigest()}}
    images, kinds = read_imagenet16(tmp_path, "train", 10, checksums)
    keep = labels <= 10
    assert (kinds == labels[keep] - 1).all()
    assert (images == data[keep].reshape(-1, 3, 16, 16).transpose(0, 2, 3, 1)).all()
    with pytest.raises(DataError, match="not the official file"):
        read_imagenet16(tmp_path, "train", 10, {"train": {"batch": "0" * 32}})
    with pytest.raises(DataError, match="registration"):
        read_imagenet16(tmp_path / "absent", "train", 10)


def test_a_pickle_of_python_2_is_read(tmp_path):
    """Written out by opcodes: strings as bytes, the array's bytes as a string with all 256 values."""
    raw = bytes(range(256)) * 3
    content = (
        b"\x80\x02}(U\x06labels](K\x03eU\x04datacnumpy.core.multiarray\n_reconstruct\n"
        b"(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x01M\x00\x03\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", 768)
        + raw
        + b"tbu."
    )
    (tmp_path / "batch").write_bytes(content)
    checksums = {"train": {"batch": hashlib.md5(content).hexdigest()}}
    images, kinds = read_imagenet16(tmp_path, "train", 10, checksums)
    assert list(kinds) == [2]
    assert images.transpose(0, 3, 1, 2).tobytes() == raw


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, capsys):
    content = pickled({"data": Harmful(), "labels": []})
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataError, match="print"):
        read_imagenet16(tmp_path, "train", 10, {"train": {"batch": hashlib.md5(content).hexdigest()}})
    assert capsys.readouterr().out == ""


def test_the_stand_in_archive_has_the_format_of_imagenet16(reference):
    images, labels = read_packed(reference / "images" / "tiny_imagenet16_120.zip", "val")
    assert images.shape == (6_000, 16, 16, 3)
    assert set(labels) == set(range(120))


def test_normalisation_and_resizing_by_hand():
    images, labels = random_images(5, 8)
    statistics = Statistics(4, (10.0, 20.0, 30.0), (2.0, 4.0, 5.0), 1)
    loaded = DeviceImages(images, labels, statistics, size=4, dtype=torch.float64, device=CPU)
    batch = loaded.batch(torch.tensor([4, 1]))
    block = images[4, 2:4, 6:8].astype(float).mean((0, 1))
    expected = torch.tensor((block - [10, 20, 30]) / [2, 4, 5])
    torch.testing.assert_close(batch[0, :, 1, 3], expected)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_every_augmented_image_is_one_of_the_possible_crops():
    """Against all flips and crops of the image with a black border, cut out one by one."""
    images, labels = random_images(6, 8)
    statistics = Statistics(4, (10.0, 20.0, 30.0), (2.0, 4.0, 5.0), 2)
    loaded = DeviceImages(images, labels, statistics, size=8, dtype=torch.float64, device=CPU, padding=2)
    mean, std = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 5.0])
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(40):
        batch = loaded.augmented_batch(torch.arange(6), generator).permute(0, 2, 3, 1)
        for image, result in zip(images, batch, strict=True):
            found = []
            for flip in (False, True):
                turned = torch.from_numpy(image[:, ::-1].copy() if flip else image).double()
                bordered = F.pad(turned, (0, 0, 2, 2, 2, 2))
                for y in range(5):
                    for x in range(5):
                        crop = (bordered[y : y + 8, x : x + 8] - mean) / std
                        if torch.allclose(crop, result):
                            found.append((flip, y, x))
            assert len(found) == 1
            seen.update(found)
    assert len(seen) > 45
    assert loaded.batch(torch.arange(6)).shape == (6, 3, 8, 8)


def test_the_order_of_subsets_is_fixed():
    assert list(subset_order(10)) == list(np.random.default_rng(201).permutation(10))


def accuracy(images, labels, task: str, path) -> float:
    loaded = DeviceImages(images, labels, STATISTICS[task], size=32, dtype=torch.bfloat16, device=CPU)
    teacher = load_teacher(TeacherFile(path), STATISTICS[task].classes, CPU, torch.bfloat16)
    correct = 0
    for rows in torch.arange(len(labels)).split(250):
        correct += int((teacher(loaded.batch(rows)).logits.argmax(1) == loaded.labels[rows]).sum())
    return 100 * correct / len(labels)


def test_the_cifar10_teacher_on_validation_images(reference):
    """Published: 90.78 % on the 25,000; here on those of them that the small archive holds (about 2,500)."""
    archive = reference / "images" / "cifar10_small.zip"
    images, labels = read_packed(archive, "train")
    with zipfile.ZipFile(archive) as file:
        original = np.load(io.BytesIO(file.read("train/orig_index.npy")))
    held = np.isin(original, read_split(reference / "splits" / "cifar-split.txt", "valid"))
    assert held.sum() > 2_000
    path = reference / "teachers" / "cifar10_resnet_cell.npz"
    assert accuracy(images[held], labels[held], "cifar10", path) == pytest.approx(90.78, abs=1.8)


def test_the_cifar100_teacher_on_the_validation_images(reference):
    """Published: 70.20 % on the 5,000 x-valid images."""
    images, labels = read_packed(reference / "images" / "cifar100.zip", "test")
    held = read_split(reference / "splits" / "cifar100-test-split.txt", "xvalid")
    path = reference / "teachers" / "cifar100_resnet_cell.npz"
    assert accuracy(images[held], labels[held], "cifar100", path) == pytest.approx(70.20, abs=0.6)
