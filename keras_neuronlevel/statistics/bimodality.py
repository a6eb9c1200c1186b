"""Whether a histogram of average signs has two peaks (claims C3, C4)."""

import numpy as np


def bimodality(s: np.ndarray) -> np.ndarray:
    """Sarle's bimodality coefficient of the average signs, per neuron: s (N, U[, P]) -> (U,) in (0, 1].

    b = (γ² + 1) / κ with γ the skewness, m₃ / m₂^{3/2}, and κ the kurtosis, m₄ / m₂², of the neuron's
    defined pairs (central moments mₖ, positions pooled). By Pearson's inequality κ ≥ γ² + 1, with equality
    for two points only: b = 1 exactly where s takes two values, whatever their shares; 5/9 for a uniform
    histogram; 1/3 for a Gaussian one. NaN for fewer than 4 defined pairs and where all of them are equal:
    one point has one peak.

    The moments are those of the pairs themselves, without the small-sample corrections of some statistics
    packages, under which four values at two points would come out as 0.13.

    Weaknesses: b looks at two moments, not at peaks. A skewed or flat-topped histogram with one peak may
    exceed 5/9, three peaks look like a uniform histogram, and two peaks close to zero count as much as two
    at the ends. So it is read beside the mean of abs(s), which says where the mass is.
    """
    s = np.asarray(s)
    if s.ndim not in (2, 3):
        raise ValueError(f"average signs have shape (N, U) or (N, U, P); these have {s.ndim} dimensions")
    return np.array([_coefficient(s[:, u]) for u in range(s.shape[1])], np.float64)


def _coefficient(values):
    values = values[np.isfinite(values)].astype(np.float64)
    if values.size < 4 or values.min() == values.max():
        return np.nan
    values -= values.mean()
    squares = values * values
    second, third, fourth = squares.mean(), (squares * values).mean(), (squares * squares).mean()
    return (third**2 / second**3 + 1) * second**2 / fourth
