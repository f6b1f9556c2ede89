"""DNGO: Bayesian linear regression on what the hidden layer of a small network sees."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import MissingDependencyError

Floats = npt.NDArray[np.float64]


def predict_by_network(
    features: Floats, observed: npt.NDArray[np.intp], targets: Floats, *, units: int, epochs: int, seed: int
) -> tuple[Floats, Floats]:
    """Mean and standard deviation at all rows of features, each (n,), given targets of the observed rows, (k,).

    Snoek et al., ICML 2015, as in pybnn: features and targets are standardized, a network of one hidden layer of
    `units` tanh units is fitted by Adam (rate 0.01, batches of 10, squared error), and its hidden values are the
    basis of a Bayesian linear regression, whose two precisions maximize the evidence (pybnn: by a simplex search
    from a random start; here by scikit-learn's fixed point). Raises `MissingDependencyError` without scikit-learn.
    """
    try:
        from sklearn.linear_model import BayesianRidge
        from sklearn.neural_network import MLPRegressor
    except ImportError as error:
        raise MissingDependencyError("DNGO needs scikit-learn: pip install 'nasbench-kd[models]'") from error
    seen = features[observed]
    scaled = (features - seen.mean(axis=0)) / np.where(seen.std(axis=0) > 0, seen.std(axis=0), 1.0)
    centre, spread = targets.mean(), targets.std() or 1.0
    network = MLPRegressor(
        hidden_layer_sizes=(units,),
        activation="tanh",
        alpha=0.0,
        batch_size=min(10, len(targets)),
        learning_rate_init=0.01,
        max_iter=epochs,
        n_iter_no_change=epochs,
        tol=0.0,
        random_state=seed,
    )
    standardized = (targets - centre) / spread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has used all of its epochs, as it should
        network.fit(scaled[observed], standardized)
    basis = np.tanh(scaled @ network.coefs_[0] + network.intercepts_[0])
    regression = BayesianRidge().fit(basis[observed], standardized)
    mean, deviation = regression.predict(basis, return_std=True)
    return centre + spread * mean, spread * deviation


def predict_by_process(
    features: Floats, observed: npt.NDArray[np.intp], targets: Floats, *, seed: int
) -> tuple[Floats, Floats]:
    """The same by a Gaussian process of squared exponential covariance; all parameters maximize the likelihood.

    Raises `MissingDependencyError` without scikit-learn.
    """
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ImportError as error:
        raise MissingDependencyError(
            "this search needs scikit-learn: pip install 'nasbench-kd[models]'"
        ) from error
    seen = features[observed]
    gaps = np.linalg.norm(seen[:, None] - seen, axis=2)
    length = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
    kernel = ConstantKernel(1.0) * RBF(length, (length / 20, length * 20)) + WhiteKernel(0.1, (1e-4, 1e1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that a parameter lies at its bound
        process.fit(seen, targets)
    noise = float(np.exp(process.kernel_.theta[-1])) * float(process._y_train_std) ** 2
    mean, deviation = process.predict(features, return_std=True)
    return mean, np.sqrt(np.maximum(deviation**2 - noise, 1e-12))
