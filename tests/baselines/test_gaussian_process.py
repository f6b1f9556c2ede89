"""The Gaussian process agrees with GPyTorch, with itself, and with finite differences."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from nasbench_kd.spaces.nasbench201 import code_matrix, one_hot_matrix
from nasbench_kd_baselines.models.gaussian_process import GaussianProcess, log_marginal_likelihood, prior_mean

LOGARITHMS = np.array([0.4, -1.5, -0.3, -2.0, 0.2, -0.9, -1.1, -3.0])


@pytest.fixture
def data() -> tuple[list[int], np.ndarray, np.ndarray]:
    """Candidates' indices (200), observed positions (40, one of them twice) and their targets."""
    rng = np.random.default_rng(5)
    candidates = rng.choice(15625, size=200, replace=False)
    observed = [*rng.choice(200, size=39, replace=False).tolist()]
    observed.append(observed[0])
    return observed, rng.normal(size=40), candidates


def model_of(candidates: np.ndarray) -> GaussianProcess:
    model = GaussianProcess(code_matrix()[candidates])
    model.logarithms = LOGARITHMS.copy()
    return model


def test_it_agrees_with_gpytorch(data: tuple[list[int], np.ndarray, np.ndarray]) -> None:
    gpytorch = pytest.importorskip("gpytorch", reason="gpytorch comes with botorch")
    torch = pytest.importorskip("torch")
    observed, targets, candidates = data
    model = model_of(candidates)
    model.condition(observed)
    parameters = model.hyperparameters
    inputs = torch.tensor(one_hot_matrix()[candidates], dtype=torch.float64)
    values = torch.tensor(targets, dtype=torch.float64)

    class Exact(gpytorch.models.ExactGP):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(inputs[observed], values, gpytorch.likelihoods.GaussianLikelihood())
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(
                gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=30)
            )

        def forward(self, x: object) -> object:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    exact = Exact().double()
    exact.covar_module.outputscale = torch.tensor(parameters.variance, dtype=torch.float64)
    exact.covar_module.base_kernel.lengthscale = torch.tensor(np.sqrt(2 / parameters.weights).repeat(5))
    exact.likelihood.noise = torch.tensor(parameters.noise, dtype=torch.float64)

    exact.train()
    likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(exact.likelihood, exact)
    theirs = likelihood(exact(inputs[observed]), values) * len(targets)
    patterns = model.patterns(observed)[:, observed]
    ours, gradient = log_marginal_likelihood(LOGARITHMS, patterns, targets)
    assert ours == pytest.approx(float(theirs.detach()), rel=1e-9)
    theirs.backward()
    by_scale = exact.covar_module.raw_outputscale
    softplus_slope = torch.sigmoid(by_scale.detach())
    assert gradient[0] == pytest.approx(float(by_scale.grad / softplus_slope) * parameters.variance, rel=1e-7)

    exact.eval()
    with torch.no_grad(), gpytorch.settings.fast_pred_var(False):
        posterior = exact(inputs)
        np.testing.assert_allclose(model.mean(targets), posterior.mean.numpy(), atol=1e-9)
        np.testing.assert_allclose(model.variance(), posterior.variance.numpy(), atol=1e-9)


def test_the_gradient_is_that_of_the_likelihood(data: tuple[list[int], np.ndarray, np.ndarray]) -> None:
    observed, targets, candidates = data
    model = model_of(candidates)
    patterns = model.patterns(observed)[:, observed]
    numeric = approx_fprime(
        LOGARITHMS, lambda point: log_marginal_likelihood(point, patterns, targets)[0], 1e-6
    )
    _, gradient = log_marginal_likelihood(LOGARITHMS, patterns, targets)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_adding_one_by_one_is_conditioning_on_all(
    data: tuple[list[int], np.ndarray, np.ndarray],
) -> None:
    observed, targets, candidates = data
    at_once, one_by_one = model_of(candidates), model_of(candidates)
    at_once.condition(observed)
    one_by_one.condition(observed[:3])
    for point in observed[3:]:
        one_by_one.add(point)
    np.testing.assert_allclose(one_by_one.mean(targets), at_once.mean(targets), atol=1e-10)
    np.testing.assert_allclose(one_by_one.variance(), at_once.variance(), atol=1e-10)


def test_pending_points_shrink_the_variance_as_if_observed(
    data: tuple[list[int], np.ndarray, np.ndarray],
) -> None:
    observed, targets, candidates = data
    known, pending = observed[:30], observed[30:]
    model, believer = model_of(candidates), model_of(candidates)
    model.condition(known)
    mean = model.mean(targets[:30])
    before = model.variance()
    with_pending = model.variance(pending)
    believer.condition(observed)
    np.testing.assert_allclose(with_pending, believer.variance(), atol=1e-10)
    believed = np.concatenate([targets[:30], mean[pending]])
    np.testing.assert_allclose(believer.mean(believed), mean, atol=1e-6)
    np.testing.assert_array_equal(model.variance(), before)


def test_fitting_finds_the_edge_that_matters() -> None:
    codes = code_matrix()
    rng = np.random.default_rng(0)
    observed = rng.choice(15625, size=80, replace=False).tolist()
    effect = np.array([-1.5, -0.5, 0.0, 0.7, 1.3])
    targets = effect[codes[observed, 3]] + 0.05 * rng.normal(size=80)
    model = GaussianProcess(codes)
    patterns = model.patterns(observed)[:, observed]
    before, _ = log_marginal_likelihood(prior_mean(6), patterns, targets)
    model.fit(observed, targets)
    after, _ = log_marginal_likelihood(model.logarithms, patterns, targets)
    assert after > before
    weights = model.hyperparameters.weights
    assert np.argmax(weights) == 3
    assert weights[3] > 5 * np.delete(weights, 3).max()
    np.testing.assert_allclose(model.mean(targets), effect[codes[:, 3]], atol=0.3)
