"""Scores computed slowly and obviously: sets of pixels, loops over cells, all assignments."""

import itertools

import numpy as np

from tests.golden.make_metrics import THRESHOLDS


def pixels(labels):
    return [set(np.flatnonzero(labels == value).tolist()) for value in np.unique(labels) if value > 0]


def dice(a, b):
    return 2 * len(a & b) / (len(a) + len(b))


def iou(a, b):
    return len(a & b) / len(a | b)


def assignments(n, m):
    """Yields all one-to-one assignments, as lists of pairs, with as many pairs as possible."""
    if n > m:
        yield from ([(i, j) for j, i in pairs] for pairs in assignments(m, n))
    else:
        yield from (list(enumerate(chosen)) for chosen in itertools.permutations(range(m), n))


def slow_scores(labels, masks):
    """Returns the scores of labels, by definition; needs at least one true cell."""
    found, true = pixels(labels), pixels(masks)
    n = len(true)
    result = {"cells": n}
    best = [max(found, key=lambda p: (len(t & p), -len(p)), default=set()) for t in true]
    result["mdice"] = sum(dice(t, p) for t, p in zip(true, best, strict=True)) / n

    def one_to_one(pairs):
        values = [dice(true[i], found[j]) for i, j in pairs if true[i] & found[j]]
        return round(sum(values), 9), len(values)

    total, count = max(one_to_one(pairs) for pairs in assignments(n, len(found)))
    result["dice_one_to_one"] = total / (n + len(found) - count)

    def precision(threshold):
        def hits(pairs):
            values = [v for v in (iou(true[i], found[j]) for i, j in pairs) if v >= threshold]
            return len(values), sum(values)

        tp, total = max(hits(pairs) for pairs in assignments(n, len(found)))
        return tp / (n + len(found) - tp), total / ((n + len(found)) / 2)

    result["ap50"], result["pq"] = precision(0.5)
    result["ap"] = sum(precision(threshold)[0] for threshold in THRESHOLDS) / len(THRESHOLDS)

    intersection = union = 0
    taken = set()
    for t in true:
        ranked = [(-iou(t, p), -len(t & p), j) for j, p in enumerate(found) if t & p]
        j = min(ranked)[2] if ranked else None
        intersection += len(t & found[j]) if ranked else 0
        union += len(t | found[j]) if ranked else len(t)
        taken.add(j)
    union += sum(len(p) for j, p in enumerate(found) if j not in taken)
    result["aji"] = intersection / union

    owner = [next((j for j, p in enumerate(found) if 2 * len(t & p) > len(t)), None) for t in true]
    result["seg"] = sum(iou(t, found[j]) for t, j in zip(true, owner, strict=True) if j is not None) / n
    covered = [owner.count(j) for j in range(len(found))]
    repairs = 5 * sum(k - 1 for k in covered if k > 1) + 10 * owner.count(None) + covered.count(0)
    result["det"] = 1 - min(repairs, 10 * n) / (10 * n)
    return result
