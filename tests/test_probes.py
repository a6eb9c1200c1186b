import numpy as np
import pytest

from keras_neuronlevel.probes import LinearProbe, cross_entropy, minimize, pool


def problem(n=300, d=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * [1, 10, 0.1, 1, 1][:d] + 3
    truth = rng.normal(size=(d, classes)) / np.array([1, 10, 0.1, 1, 1])[:d, None]
    noise = rng.gumbel(size=(n, classes))
    return x.astype(np.float32), ((x - 3) @ truth + noise).argmax(1)


def objective(x, y, weights, bias, strength, classes):
    """The probe's objective on standardized features, sample by sample."""
    mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    total = 0.0
    for row, label in zip((x - mean) / std, y, strict=True):
        scores = row @ weights + bias
        total += np.log(np.exp(scores).sum()) - scores[label]
    return total / len(x) + strength / 2 * (weights**2).sum()


def test_the_solution_is_a_minimum():
    x, y = problem()
    probe = LinearProbe(3, strengths=[0.01], tolerance=1e-8).fit(x, y)
    assert probe.converged and probe.gradient <= 1e-8
    std = x.std(0, dtype=np.float64)
    weights, bias = probe.weights * std[:, None], probe.bias + x.mean(0, dtype=np.float64) @ probe.weights
    least = objective(x, y, weights, bias, 0.01, 3)
    rng = np.random.default_rng(1)
    for _ in range(30):
        step, shift = rng.normal(size=weights.shape) * 1e-3, rng.normal(size=3) * 1e-3
        assert objective(x, y, weights + step, bias + shift, 0.01, 3) > least


def test_batches_do_not_matter_and_the_fit_is_deterministic():
    x, y = problem()
    whole = LinearProbe(3).fit(x, y)
    again = LinearProbe(3).fit(x, y)
    cut = LinearProbe(3).fit_batches(lambda: ((x[i : i + 7], y[i : i + 7]) for i in range(0, 300, 7)))
    np.testing.assert_array_equal(whole.weights, again.weights)
    assert cut.strength == whole.strength
    np.testing.assert_allclose(cut.weights, whole.weights, rtol=1e-2, atol=1e-3)
    assert cut.evaluate(x, y)[0] == pytest.approx(whole.evaluate(x, y)[0], abs=0.01)


def test_the_scale_of_features_does_not_matter():
    x, y = problem()
    scaled = x * np.array([1, 100, 0.01, 5, 1]) - 7
    one, other = LinearProbe(3, tolerance=1e-6).fit(x, y), LinearProbe(3, tolerance=1e-6).fit(scaled, y)
    np.testing.assert_array_equal(one.predict(x), other.predict(scaled))


def test_strength_is_chosen_on_the_held_out_part():
    rng = np.random.default_rng(0)
    noise, labels = rng.normal(size=(120, 40)), rng.integers(0, 3, 120)
    x, y = problem(n=3000)
    assert LinearProbe(3).fit(noise, labels).strength >= 0.1  # nothing to learn: shrink
    assert LinearProbe(3).fit(x, y).strength <= 0.01


def test_separable_classes_constant_features_and_one_class():
    x = np.repeat(np.eye(3), 20, axis=0)
    x = np.concatenate([x, np.full((60, 1), 4.0)], axis=1)
    y = np.repeat([0, 1, 2], 20)
    probe = LinearProbe(3).fit(x, y)
    assert probe.converged and probe.evaluate(x, y)[0] == 1
    np.testing.assert_array_equal(probe.weights[3], 0)
    assert LinearProbe(3).fit(x, y * 0 + 1).evaluate(x, y * 0 + 1)[0] == 1


def test_evaluate_equals_a_loop():
    x, y = problem(n=40)
    probe = LinearProbe(3, strengths=[0.1]).fit(x, y)
    accuracy, loss = probe.evaluate(x, y)
    losses, hits = [], 0
    for row, label in zip(x.astype(np.float64), y, strict=True):
        scores = row @ probe.weights + probe.bias
        losses.append(-np.log(np.exp(scores[label]) / np.exp(scores).sum()))
        hits += scores.argmax() == label
    assert accuracy == hits / 40 and loss == pytest.approx(np.mean(losses))


def test_cross_entropy_of_huge_logits():
    losses, probabilities = cross_entropy(np.array([[1e4, 0.0]]), np.array([1]))
    assert losses[0] == 1e4
    np.testing.assert_array_equal(probabilities, [[1, 0]])


def test_minimize_finds_the_minimum_of_a_stretched_bowl():
    stretch = np.array([1.0, 1e3, 1e-2])
    target = np.array([1.0, -2.0, 3.0])

    def bowl(x):
        return 0.5 * stretch @ (x - target) ** 2, stretch * (x - target)

    found = minimize(bowl, np.zeros(3), 1e-9, 200)
    assert found.converged
    np.testing.assert_allclose(found.x, target, rtol=1e-6)
    assert not minimize(bowl, np.zeros(3), 1e-9, 2).converged


@pytest.mark.parametrize(("height", "width", "grid"), [(4, 4, 1), (4, 4, 2), (5, 7, 3), (3, 3, 3)])
def test_pool_equals_a_loop(height, width, grid):
    maps = np.random.default_rng(0).normal(size=(2, height, width, 3))
    expected = []
    for i in range(grid):
        for j in range(grid):
            rows = slice(i * height // grid, (i + 1) * height // grid)
            columns = slice(j * width // grid, (j + 1) * width // grid)
            expected.append(maps[:, rows, columns].mean((1, 2)))
    np.testing.assert_allclose(pool(maps, grid), np.concatenate(expected, 1), rtol=1e-12)
    np.testing.assert_array_equal(pool(maps[:, 0, 0]), maps[:, 0, 0])


def test_batches_that_can_be_read_only_once_are_refused():
    x, y = problem(n=20)
    once = iter([(x, y)])
    with pytest.raises(ValueError, match="20 samples at its first call and 0 at its second"):
        LinearProbe(3).fit_batches(lambda: once)
