"""How far a neuron's pre-activations keep its two categories apart (E §4, §5; claims C5 to C7).

Letters: N samples, U neurons, P positions. Pre-activations p have shape (N, U) or (N, U, P), categories c
(see :func:`categories`) the same; a neuron's positions are pooled: M = N · P pairs. Only the order of a
neuron's values enters, so infinite ones (beyond float16) count as the largest; NaN raises ``ValueError``.
Everything is computed in float64, one neuron at a time, in M log M steps.
"""

import numpy as np

from keras_neuronlevel import checks
from keras_neuronlevel.statistics.signs import HIGH, LOW, by_neuron, ratio

FEW = 10  # a share or an area of fewer samples than this (a category, a side, a decile) is noise: NaN


def midranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1 to M of every neuron's values, ties sharing their mean rank: (M, U) -> float64 (M, U).

    (N, U, P) is pooled to (N · P, U) first.
    """
    values = _matrix(values)
    ranks = np.empty_like(values)
    for u in range(values.shape[1]):
        ranks[:, u] = _midranks(values[:, u])
    return ranks


def auc(p: np.ndarray, c: np.ndarray, fewest: int = 1) -> np.ndarray:
    """The area under the ROC curve of p, 'high' against 'low', per neuron: (U,) (claim C5).

    P(p_high > p_low) + ½ P(p_high = p_low) over all pairs of a high and a low sample, exact with ties: 1
    where every high value is above every low one, ½ where p says nothing. Undefined pairs (c = 0) are left
    out; NaN where a category has fewer than ``fewest`` values.
    """
    p, c = _pairs(p, c)
    fewest = checks.whole("fewest", fewest, least=0)
    return _each(p, lambda u: _auc(p[:, u], c[:, u], fewest))


def auc_by_side(
    p: np.ndarray, c: np.ndarray, split: float | np.ndarray = 0.0, fewest: int = FEW
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`auc` among the samples with p > split, and among those with p < split: two (U,) (claim C7).

    It says how well p orders the samples *within* a side, whatever the shares of the categories there.
    ``split`` is a number or one a neuron, (U,). NaN where a side has fewer than ``fewest`` samples of a
    category: a side that is nearly pure has no ordering to speak of.
    """
    split = checks.reals("split", split)
    if np.isnan(split).any():
        raise ValueError("split is NaN, on no side of which any value lies; give a number or one a neuron")
    p, c = _pairs(p, c)
    if split.shape not in ((), (p.shape[1],)):
        raise ValueError(f"split has shape {split.shape}; give a number or one a neuron, ({p.shape[1]},)")
    return auc(p, np.where(p > split, c, 0), fewest), auc(p, np.where(p < split, c, 0), fewest)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of two recordings of p, per neuron: (U,) in [-1, 1] (claim C6).

    Pearson's correlation of midranks over the M samples and positions: 1 exactly where b is an increasing
    function of a, as after a translation. NaN where either is constant.
    """
    a, b = _matrix(a), _matrix(b)
    if a.shape != b.shape:
        raise ValueError(f"the two recordings have shapes {a.shape} and {b.shape}; they must be equal")
    middle = (len(a) + 1) / 2
    a, b = midranks(a) - middle, midranks(b) - middle
    scale = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return np.divide((a * b).sum(axis=0), scale, out=np.full(a.shape[1], np.nan), where=scale > 0)


def top_of_high(early: np.ndarray, final: np.ndarray, c: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Where in an early recording the final top of the 'high' category was, per neuron: (U,) (claim C6).

    The top are the ``share`` of the high samples with the highest p in ``final`` (rounded up; ties with the
    last of them belong to it). The result is the mean, over them, of the percentile rank 0 to 100 in
    ``early`` among all M values of the neuron. With ``early=final`` it is where they end. After a mere
    translation the two are equal. NaN where a neuron has no high sample.
    """
    checks.number("share", share, above=0, most=1)
    final, c = _pairs(final, c)
    early = _matrix(early)
    if early.shape != final.shape:
        raise ValueError(f"the recordings have shapes {early.shape} and {final.shape}; they must be equal")
    return _each(final, lambda u: _mean_rank_of_top(early[:, u], final[:, u], c[:, u] == HIGH, share))


def highest(p: np.ndarray, among: np.ndarray, share: float) -> np.ndarray:
    """The ``share`` of a neuron's pairs in ``among`` with the highest pre-activation, boolean (M,).

    ``p`` (M,) and ``among`` boolean (M,), where p is not NaN. Their number is rounded up, and whatever equals
    the least of them belongs to them.
    """
    share = checks.number("share", share, above=0, most=1)
    ordered = np.sort(p[among])
    if not ordered.size:
        return among
    return among & (p >= ordered[-int(np.ceil(share * ordered.size))])


def category_accuracy(p: np.ndarray, c: np.ndarray, fewest: int = FEW) -> dict[str, np.ndarray]:
    """How well a neuron's pre-activation tells a sample's category at one recording (E §5, claim C7).

    Returns a dictionary of:

    - ``above_zero`` (U,): the share of 'high' among the defined samples with p > 0, and ``below_zero``
      (U,): the share of 'low' among those with p < 0. That is the accuracy, side by side, of the decision
      that a ReLU makes, to let a sample pass or not. It depends on how frequent the categories are;
      :func:`auc_by_side` does not. p = 0 is on neither side.
    - ``share_above_zero`` (U,): of all pairs, those with p > 0.
    - ``by_decile`` (10, U): the share of the more frequent category in each tenth of the defined samples,
      from the lowest p to the highest; ½ where p says nothing, and a little more by chance where the tenth
      has few samples. Equal values are in the same decile.

    NaN where a side or a decile has fewer than ``fewest`` samples.
    """
    p, c = _pairs(p, c)
    fewest = checks.whole("fewest", fewest, least=0)
    high, low = c == HIGH, c == LOW
    deciles = np.stack([_deciles(p[:, u], c[:, u], fewest) for u in range(p.shape[1])], axis=1)
    return {
        "above_zero": _share(high & (p > 0), low & (p > 0), fewest),
        "below_zero": _share(low & (p < 0), high & (p < 0), fewest),
        "share_above_zero": (p > 0).mean(axis=0),
        "by_decile": deciles,
    }


def _midranks(values):
    order = np.argsort(values)
    ascending = values[order]
    start = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1])[: len(values)])
    count = np.diff(np.append(start, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(start + (count + 1) / 2, count)
    return ranks


def _auc(p, c, fewest):
    high, low = p[c == HIGH], p[c == LOW]
    if min(len(high), len(low)) < max(fewest, 1):
        return np.nan
    ranks = _midranks(np.concatenate([high, low]))[: len(high)]
    return (ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low))


def _mean_rank_of_top(early, final, high, share):
    if not high.any():
        return np.nan
    top = highest(final, high, share)
    return 100 * (_midranks(early)[top] - 0.5).mean() / len(early)


def _deciles(p, c, fewest):
    """The majority's share in each tenth of one neuron's defined samples, (10,)."""
    p, c = p[c != 0], c[c != 0]
    decile = (10 * (_midranks(p) - 0.5) / max(len(p), 1)).astype(int)
    high, low = (np.bincount(decile[c == kind], minlength=10) for kind in (HIGH, LOW))
    return ratio(np.maximum(high, low), high + low, fewest)


def _share(part, rest, fewest):
    part, rest = part.sum(axis=0), rest.sum(axis=0)
    return ratio(part, part + rest, fewest)


def _each(p, function):
    return np.array([function(u) for u in range(p.shape[1])], np.float64)


def _pairs(p, c):
    p, c = np.asarray(p), np.asarray(c)
    if p.shape != c.shape:
        raise ValueError(
            f"pre-activations have shape {p.shape} and categories {c.shape}; give the categories of the same "
            "samples, neurons and positions"
        )
    return _matrix(p), by_neuron(c)


def _matrix(p):
    p = np.asfortranarray(by_neuron(np.asarray(p)), np.float64)  # a neuron's values lie side by side
    if not p.size:
        raise ValueError(f"pre-activations have shape {p.shape}; give at least one sample and one neuron")
    if np.isnan(p).any():
        raise ValueError(
            f"{np.count_nonzero(np.isnan(p))} of {p.size} pre-activations are NaN, which has no rank; check "
            "the network's weights"
        )
    return p
