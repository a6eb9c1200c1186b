"""Linear classifier probes (Alain and Bengio 2016; long paper §5.2, ResNet50).

A probe is a multinomial logistic regression on a layer's features: how much of the classes can be read off
them linearly. It is fitted by L-BFGS over all samples at once, in float64, until the gradient is small:
the regularized problem is strictly convex in its weights, so a small gradient *is* convergence. There is
no step of chance in it but the choice of the held-out part, which is drawn from a seed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_neuronlevel import checks, streams
from keras_neuronlevel.samples import check_labels
from keras_neuronlevel.scores import Tally, total

__all__ = ["LinearProbe", "Minimum", "check_grid", "cross_entropy", "minimize", "pool"]

Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]

STRENGTHS = (1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def pool(features: np.ndarray, grid: int = 1) -> np.ndarray:
    """Feature maps (N, H, W, U) averaged over ``grid`` × ``grid`` cells -> (N, grid · grid · U).

    Cell (i, j) covers rows [⌊i H / grid⌋, ⌊(i + 1) H / grid⌋) and the columns alike. Features (N, U)
    are returned as they are; other ranks are flattened positions, (N, P, U), averaged over ``grid`` cells.

    Raises:
        ValueError: a grid finer than the positions; for features (N, U) every grid but 1.
    """
    features = np.asarray(features)
    features = features.astype(np.result_type(features.dtype, np.float32), copy=False)  # half would lose sums
    spatial = features.shape[1:-1]
    check_grid(grid, spatial)
    for axis in range(1, 1 + len(spatial)):
        features = _pool_axis(features, axis, grid)
    return features.reshape(len(features), -1)


def check_grid(grid: int, sides: Sequence[int]) -> None:
    """Raises ``ValueError`` unless feature maps with these sides (none: a dense layer) have so many cells."""
    if checks.whole("grid", grid, least=1) > min(sides, default=1):
        positions = " x ".join(map(str, sides)) or "no"
        raise ValueError(
            f"a grid of {grid} does not fit features with {positions} positions; give a whole number from 1 "
            "to the smallest side of the feature map, and 1 for a dense layer"
        )


def _pool_axis(features, axis, grid):
    size = features.shape[axis]
    starts = np.arange(grid) * size // grid
    counts = np.diff([*starts, size]).astype(features.dtype)
    shape = [-1 if i == axis else 1 for i in range(features.ndim)]
    return np.add.reduceat(features, starts, axis=axis) / counts.reshape(shape)


class LinearProbe:
    """Multinomial logistic regression, L2 strength chosen on a held-out part.

    Minimizes mean cross-entropy + strength / 2 · ‖W‖² over weights W (D, K) of *standardized* features
    (each with mean 0 and variance 1 over the training samples) and biases, which are not penalized.
    Strengths are tried from the strongest down, each starting from the last one's solution, until the
    loss on the held-out part rises (to ten times the tolerance: this only ranks them); the best is then
    fitted to all samples until no derivative exceeds ``tolerance``.

    ``fit(x, y)`` takes arrays; ``fit_batches(batches)`` a function that gives, whenever it is called, the
    same batches (features (n, D), labels (n,)): no more than one of them is in memory at a time.

    After fitting: ``weights`` (D, K) and ``bias`` (K,) for raw features, ``strength``, ``converged``,
    ``iterations`` (over all strengths), ``gradient`` (the largest absolute derivative at the end).
    """

    def __init__(
        self,
        classes: int,
        *,
        strengths: Sequence[float] = STRENGTHS,
        held_out: float = 0.1,
        seed: int = 0,
        tolerance: float = 1e-4,
        max_iterations: int = 1000,
    ):
        self.classes = checks.whole("classes", classes, least=1)
        given = checks.sequence("strengths", strengths)
        if not given:
            raise ValueError("strengths is empty; give at least one")
        self._strengths = sorted((checks.number("a strength", s, above=0) for s in given), reverse=True)
        self._held_out, self._seed = checks.number("held_out", held_out, above=0, below=1), seed
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._max_iterations = checks.whole("max_iterations", max_iterations, least=0)

    def fit(self, x: np.ndarray, y: np.ndarray) -> "LinearProbe":
        """Fit to features x (N, D) and labels y (N,). Returns the probe."""
        return self.fit_batches(_in_batches(x, y))

    def fit_batches(self, batches: Batches) -> "LinearProbe":
        """Fit to the batches that ``batches()`` gives. Returns the probe."""
        data = _Data(batches, self.classes, self._held_out, self._seed)
        solution, iterations = np.zeros((data.features + 1, self.classes)), 0
        if len(self._strengths) > 1:
            strength, solution, iterations = self._choose(data, solution)
        else:
            (strength,) = self._strengths
        fitted = self._solve(data, strength, solution, "all")
        self.strength, self.converged = strength, fitted.converged
        self.iterations, self.gradient = iterations + fitted.iterations, fitted.gradient
        self.weights, self.bias = data.raw(fitted.x.reshape(-1, self.classes))
        return self

    def _choose(self, data, start):
        best, iterations = (np.inf, None, None), 0
        for strength in self._strengths:
            fitted = self._solve(data, strength, start, "train", loose=10)
            start, iterations = fitted.x.reshape(-1, self.classes), iterations + fitted.iterations
            loss = data.objective(start, 0.0, "held out")[0]
            if loss >= best[0]:
                break
            best = loss, strength, start
        return best[1], best[2], iterations

    def _solve(self, data, strength, start, part, loose=1):
        def objective(flat):
            loss, gradient = data.objective(flat.reshape(-1, self.classes), strength, part)
            return loss, gradient.ravel()

        return minimize(objective, start.ravel(), loose * self._tolerance, self._max_iterations)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Logits (N, K) of features x (N, D). Raises ``ValueError`` for others, and before :meth:`fit`."""
        if not hasattr(self, "weights"):
            raise ValueError("the probe was not fitted yet; call fit(x, y) first")
        if np.ndim(x) != 2 or np.shape(x)[1] != len(self.weights):
            raise ValueError(
                f"features have shape {np.shape(x)}; give (N, {len(self.weights)}), as those of the fit"
            )
        return np.asarray(x, np.float64) @ self.weights + self.bias

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The most likely class of each sample (N,)."""
        return self.scores(x).argmax(axis=1)

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """(accuracy, mean cross-entropy) on features x (N, D) and labels y (N,)."""
        return self.evaluate_batches(_in_batches(x, y))

    def evaluate_batches(self, batches: Batches) -> tuple[float, float]:
        """:meth:`evaluate` on the batches that ``batches()`` gives."""
        tally = total(Tally, ((len(y), self._score(x, y)) for x, y in batches()))
        return tally.accuracy, tally.mean_loss

    def _score(self, x, y):
        check_labels(y, len(x), self.classes, "labels")
        scores = self.scores(x)
        return (scores.argmax(axis=1) == y).sum(), cross_entropy(scores, y)[0].sum()

    def report(self) -> dict:
        """How the fit went: {strength, converged, iterations, gradient}."""
        return {k: getattr(self, k) for k in ("strength", "converged", "iterations", "gradient")}


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses (n,) and probabilities (n, K) of logits (n, K)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) - shifted[np.arange(len(labels)), labels]
    return losses, exponentials / total


def _in_batches(x, y, size=4096):
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.shape != (len(x),):
        raise ValueError(
            f"features have shape {x.shape} and labels {y.shape}; give (N, D) and (N,): feature maps go "
            "through pool(features, grid) first"
        )
    return lambda: ((x[i : i + size], y[i : i + size]) for i in range(0, len(x), size))


class _Data:
    """The samples, their standardization, and the objective over one part of them."""

    def __init__(self, batches, classes, held_out, seed):
        self._batches, self._classes = batches, classes
        self._held_out, self._seed = held_out, seed
        total = squares = 0
        self._samples = 0
        for x, y in batches():
            if not np.isfinite(x).all():
                raise ValueError("features hold NaN or infinite values; a probe cannot be fitted to them")
            check_labels(y, len(x), classes, "labels")
            total = total + x.sum(axis=0, dtype=np.float64)
            self._samples += len(x)
        if self._samples < 2:
            raise ValueError(f"{self._samples} sample(s) are too few for a probe; give at least 2")
        self._mean = total / self._samples
        seen = 0
        for x, _ in batches():
            squares = squares + ((x - self._mean) ** 2).sum(axis=0)
            seen += len(x)
        if seen != self._samples:
            raise ValueError(
                f"batches() gave {self._samples} samples at its first call and {seen} at its second; it must "
                "give the same ones anew each time it is called"
            )
        std = np.sqrt(squares / self._samples)
        constant = std <= 1e-7 * np.maximum(np.abs(self._mean), 1e-30)
        self._scale = np.where(constant, 0, 1 / np.where(constant, 1, std))
        self.features = len(self._mean)
        held = streams.generator(seed, "probe's held-out samples").random(self._samples) < held_out
        if held.all() or not held.any():
            held = np.arange(self._samples) == 0
        self._parts = {"all": np.ones(len(held)), "train": (~held) * 1.0, "held out": held * 1.0}

    def raw(self, parameters):
        """Weights and bias that act on features as they came: (D, K), (K,)."""
        weights = parameters[:-1] * self._scale[:, None]
        return weights, parameters[-1] - self._mean @ weights

    def objective(self, parameters, strength, part):
        """Mean cross-entropy over a part + strength / 2 · ‖W‖², and its gradient (D + 1, K)."""
        weights, bias = self.raw(parameters)
        chosen = self._parts[part]
        loss, place = 0.0, 0
        products, sums = np.zeros_like(weights), np.zeros_like(bias)
        for x, y in self._batches():
            share = chosen[place : place + len(x)] / chosen.sum()
            place += len(x)
            x = x.astype(np.float64)
            losses, errors = cross_entropy(x @ weights + bias, y)
            errors[np.arange(len(y)), y] -= 1
            errors *= share[:, None]
            loss += share @ losses
            products += x.T @ errors
            sums += errors.sum(axis=0)
        gradient = (products - np.outer(self._mean, sums)) * self._scale[:, None]
        loss += strength / 2 * (parameters[:-1] ** 2).sum()
        return loss, np.vstack([gradient + strength * parameters[:-1], sums])


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where :func:`minimize` ended."""

    x: np.ndarray
    loss: float
    gradient: float
    iterations: int
    converged: bool


def minimize(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
    x: np.ndarray,
    tolerance: float,
    max_iterations: int,
    memory: int = 10,
) -> Minimum:
    """Minimize a smooth convex function by L-BFGS with backtracking (Nocedal and Wright, ch. 7).

    ``objective(x)`` -> (value, gradient). Converged when no derivative exceeds ``tolerance``.
    """
    tolerance = checks.number("tolerance", tolerance, least=0)
    max_iterations = checks.whole("max_iterations", max_iterations, least=0)
    memory = checks.whole("memory", memory, least=1)
    loss, gradient = objective(x)
    steps: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    for iteration in range(max_iterations):
        largest = np.abs(gradient).max()
        if largest <= tolerance:
            return Minimum(x, loss, float(largest), iteration, True)
        direction = -_inverse_hessian_times(gradient, steps, changes)
        size = 1.0 if steps else min(1.0, 1 / float(np.linalg.norm(gradient)))
        slope = gradient @ direction
        while size > 1e-12:
            new = x + size * direction
            new_loss, new_gradient = objective(new)
            if new_loss <= loss + 1e-4 * size * slope:
                break
            size /= 2
        else:
            return Minimum(x, loss, float(largest), iteration, False)
        step, change = new - x, new_gradient - gradient
        if step @ change > 1e-12 * (change @ change):
            steps, changes = [*steps, step][-memory:], [*changes, change][-memory:]
        x, loss, gradient = new, new_loss, new_gradient
    largest = float(np.abs(gradient).max())
    return Minimum(x, loss, largest, max_iterations, largest <= tolerance)


def _inverse_hessian_times(gradient, steps, changes):
    """L-BFGS's two loops."""
    q, alphas = gradient.copy(), []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        alphas.append((step @ q) / (step @ change))
        q -= alphas[-1] * change
    if steps:
        q *= (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for step, change, alpha in zip(steps, changes, reversed(alphas), strict=True):
        q += (alpha - (change @ q) / (step @ change)) * step
    return q
