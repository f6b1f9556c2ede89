"""The distillation losses once more, in float64 NumPy straight from the papers' formulas.

Loops over samples, channels and triplets, with nothing shared with the package. Run this file to
write `distillation.json` anew beside it.
"""

from __future__ import annotations

import json
from itertools import pairwise, product
from pathlib import Path

import numpy as np

BATCH, CLASSES = 5, 7
STUDENT = ((4, 8), (6, 4), (10, 2))
"""(channels, side) of the maps; the last has more than 2 * H * W channels."""
WIDER_TEACHER = ((6, 16), (5, 8), (14, 4))
LABELS = np.array([3, 0, 6, 2, 3])


def values(shape, phase):
    """Smooth pseudo-random numbers in about [-2, 2] that no library version changes."""
    index = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    return np.sin(index * 1.7 + phase) + np.cos(index * index * 0.013 + 2 * phase)


def outputs(maps, phase):
    """Maps, pooled vector (as wide as the last map) and logits of one network."""
    return {
        "maps": [
            values((BATCH, channels, side, side), phase + position)
            for position, (channels, side) in enumerate(maps)
        ],
        "pooled": values((BATCH, maps[-1][0]), phase + 0.5),
        "logits": 3 * values((BATCH, CLASSES), phase + 0.25),
    }


def networks():
    """The student, a teacher of its shapes, and a wider teacher of larger maps."""
    return {
        "student": outputs(STUDENT, 0.1),
        "same": outputs(STUDENT, 4.2),
        "wider": outputs(WIDER_TEACHER, 8.3),
    }


def softmax(row):
    exponentials = np.exp(row - row.max())
    return exponentials / exponentials.sum()


def cross_entropy(logits):
    return np.mean([-np.log(softmax(row)[label]) for row, label in zip(logits, LABELS, strict=True)])


def kd(student, teacher, temperature=4.0):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        total += np.sum(p * np.log(p / q))
    return temperature**2 * total / len(student)


def pool(features, side):
    """Block means down to (side, side), for sides that divide."""
    batch, channels, height, width = features.shape
    blocks = features.reshape(batch, channels, side, height // side, side, width // side)
    return blocks.mean(axis=(3, 5))


def pooled_pair(student, teacher):
    side = min(student.shape[2], teacher.shape[2])
    return pool(student, side), pool(teacher, side)


def kernel(x, y):
    """k(x, y) of neuron selectivity transfer, channel by channel."""
    total = 0.0
    for b, i, j in product(range(x.shape[0]), range(x.shape[1]), range(y.shape[1])):
        u, v = x[b, i].ravel(), y[b, j].ravel()
        total += (u @ v / (np.linalg.norm(u) * np.linalg.norm(v))) ** 2
    return total / (x.shape[0] * x.shape[1] * y.shape[1])


def nst(student, teacher, constant=True):
    s, t = pooled_pair(student, teacher)
    return kernel(s, s) - 2 * kernel(s, t) + (kernel(t, t) if constant else 0.0)


def attention_transfer(student, teacher):
    gaps = []
    for s, t in zip(*pooled_pair(student, teacher), strict=True):
        a, b = (s**2).mean(axis=0).ravel(), (t**2).mean(axis=0).ravel()
        gaps.append((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)
    return np.mean(gaps)


def similarity_preserving(student, teacher):
    def similarity(features):
        flat = features.reshape(len(features), -1)
        rows = [[np.dot(a, b) for b in flat] for a in flat]
        return np.array([np.array(row) / np.linalg.norm(row) for row in rows])

    return np.sum((similarity(student) - similarity(teacher)) ** 2) / len(student) ** 2


def hint(student, teacher):
    s, t = pooled_pair(student, teacher)
    return np.mean((s - t) ** 2)


def vid(student, teacher, variance):
    s, t = pooled_pair(student, teacher)
    terms = [(s[:, c] - t[:, c]) ** 2 / v + np.log(v) for c, v in enumerate(variance)]
    return 0.5 * np.mean(terms)


def fsp(student_lower, student_upper, teacher_lower, teacher_upper):
    def flow(lower, upper):
        lower, upper = pooled_pair(lower, upper)
        return np.einsum("bihw,bjhw->bij", lower, upper) / lower[0, 0].size

    return np.mean((flow(student_lower, student_upper) - flow(teacher_lower, teacher_upper)) ** 2)


def pkt(student, teacher, epsilon=1e-7):
    def probabilities(vectors):
        directions = [vector / np.linalg.norm(vector) for vector in vectors]
        rows = [[(a @ b + 1) / 2 for b in directions] for a in directions]
        return np.array([np.array(row) / np.sum(row) for row in rows])

    p, q = probabilities(teacher), probabilities(student)
    return np.mean(p * np.log((p + epsilon) / (q + epsilon)))


def huber(gap):
    return 0.5 * gap**2 if abs(gap) < 1 else abs(gap) - 0.5


def rkd_distance(student, teacher):
    def distances(vectors):
        table = np.array([[np.linalg.norm(a - b) for b in vectors] for a in vectors])
        return table / table[table > 0].mean()

    return np.mean([huber(gap) for gap in (distances(student) - distances(teacher)).ravel()])


def rkd_angle(student, teacher):
    def cosine(vectors, vertex, one, other):
        u, v = vectors[one] - vectors[vertex], vectors[other] - vectors[vertex]
        return 0.0 if vertex in (one, other) else u @ v / (np.linalg.norm(u) * np.linalg.norm(v))

    triplets = product(range(len(student)), repeat=3)
    return np.mean([huber(cosine(student, *triplet) - cosine(teacher, *triplet)) for triplet in triplets])


def correlation_congruence(student, teacher):
    gaps = [np.abs(s - t) for s, t in zip(student, teacher, strict=True)]
    return np.mean([np.dot(a, b) for a, b in pairwise(gaps)])


def single_losses():
    """Every loss on every pair of networks that it can compare."""
    nets = networks()
    student, result = nets["student"], {}
    for name in ("same", "wider"):
        teacher = nets[name]
        result[f"kd {name}"] = kd(student["logits"], teacher["logits"])
        for loss in (pkt, rkd_distance, rkd_angle):
            result[f"{loss.__name__} {name}"] = loss(student["pooled"], teacher["pooled"])
        for loss in (nst, attention_transfer, similarity_preserving):
            for position, (s, t) in enumerate(zip(student["maps"], teacher["maps"], strict=True)):
                result[f"{loss.__name__} {name} {position}"] = loss(s, t)
    teacher = nets["same"]
    for position, (s, t) in enumerate(zip(student["maps"], teacher["maps"], strict=True)):
        result[f"hint same {position}"] = hint(s, t)
        result[f"vid same {position}"] = vid(s, t, variances(s.shape[1]))
    result["correlation_congruence same"] = correlation_congruence(student["pooled"], teacher["pooled"])
    for position in range(2):
        own, other = (net["maps"][position : position + 2] for net in (student, teacher))
        result[f"fsp same {position}"] = fsp(*own, *other)
    return result


def variances(channels):
    return 0.5 + 0.25 * np.arange(channels)


def totals():
    """The training losses, with the constants of MF-KD and RepDistiller written out."""
    nets = networks()
    student, teacher = nets["student"], nets["same"]
    s_maps, t_maps = student["maps"], teacher["maps"]
    pairs = list(zip(s_maps, t_maps, strict=True))
    entropy = cross_entropy(student["logits"])
    logits = 0.1 * entropy + 0.9 * kd(student["logits"], teacher["logits"])
    selectivity = 25 * sum(nst(s, t, constant=False) for s, t in pairs)
    pooled = student["pooled"], teacher["pooled"]
    flows = [fsp(*s_maps[i : i + 2], *t_maps[i : i + 2]) for i in range(2)]
    return {
        "none": entropy,
        "kd": logits,
        "nst": entropy + selectivity,
        "kd+nst": logits + selectivity,
        "at": entropy + 1000 * sum(attention_transfer(s, t) for s, t in pairs),
        "pkt": entropy + 3e4 * pkt(*pooled),
        "sp": entropy + 3000 * similarity_preserving(s_maps[-1], t_maps[-1]),
        "fsp": entropy + 50 * sum(flows),
        "cc": entropy + 0.02 * correlation_congruence(*pooled),
        "rkd": entropy + 25 * rkd_distance(*pooled) + 50 * rkd_angle(*pooled),
    }


def golden():
    """What `distillation.json` holds."""
    return {
        part: {key: float(value) for key, value in values.items()}
        for part, values in (("losses", single_losses()), ("totals", totals()))
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("distillation.json")
    path.write_text(json.dumps(golden(), indent=1) + "\n")
