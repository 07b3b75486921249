"""What calibration is compared with: scikit-learn, torch, scipy, torchmetrics and numpy.

The data have the distributions that calibration.rs beside this file draws from, and as many samples.
"""

import warnings

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.calibration import _TemperatureScaling
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

BINS = 15
REPLICATES = 1000
# Weights of the penalties of Dirichlet calibration.
ODIR = 1.0
# To the optimum a matrix takes scipy thousands, and minutes.
ITERATIONS = 200


def logits_and_labels(rows, classes):
    """Overconfident logits, and labels drawn from half of them."""
    random = np.random.default_rng(0)
    logits = (3 * random.standard_normal((rows, classes))).astype(np.float32)
    noise = random.gumbel(size=(rows, classes))
    return logits, np.argmax(logits / 2 + noise, axis=1)


def temperature(case):
    """One number, by its makers' fit and by the optimizer that tutorials use."""
    logits, labels = logits_and_labels(case["rows"], case["classes"])
    tensor, targets = torch.from_numpy(logits), torch.from_numpy(labels)

    def lbfgs():
        log_t = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.LBFGS([log_t], max_iter=50, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(tensor / log_t.exp(), targets)
            loss.backward()
            return loss

        optimizer.step(closure)
        return log_t.exp().item()

    return {
        "scikit-learn": lambda: _TemperatureScaling().fit(logits, labels),
        "torch L-BFGS (strong Wolfe)": lbfgs,
    }


def minimized(objective, start):
    """The optimum by scipy, or what it has after ITERATIONS."""
    options = {"maxiter": ITERATIONS, "ftol": 1e-14, "gtol": 1e-8}
    return minimize(objective, start, jac=True, method="L-BFGS-B", options=options)


def vector(case):
    """Vector scaling."""
    logits, labels = logits_and_labels(case["rows"], case["classes"])
    logits, rows = logits.astype(np.float64), np.arange(len(labels))
    classes = case["classes"]

    def objective(parameters):
        weights, intercepts = parameters[:classes], parameters[classes:]
        log_p = log_softmax(logits * weights + intercepts, axis=1)
        slope = np.exp(log_p)
        slope[rows, labels] -= 1
        slope /= len(labels)
        gradient = np.concatenate([(slope * logits).sum(0), slope.sum(0)])
        return -log_p[rows, labels].mean(), gradient

    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    return {f"scipy L-BFGS, at most {ITERATIONS} iterations": lambda: minimized(objective, start)}


def affine(inputs, labels):
    """A matrix and constants with the penalties ODIR."""
    classes, rows = inputs.shape[1], np.arange(len(labels))
    off_diagonal = ~np.eye(classes, dtype=bool)

    def objective(parameters):
        weights = parameters[: classes**2].reshape(classes, classes)
        intercepts = parameters[classes**2 :]
        log_p = log_softmax(inputs @ weights.T + intercepts, axis=1)
        slope = np.exp(log_p)
        slope[rows, labels] -= 1
        slope /= len(labels)
        held_back = weights * off_diagonal
        count = classes * (classes - 1)
        penalty = ODIR * ((held_back**2).sum() / count + (intercepts**2).mean())
        of_weights = slope.T @ inputs + 2 * ODIR / count * held_back
        of_intercepts = slope.sum(0) + 2 * ODIR / classes * intercepts
        value = penalty - log_p[rows, labels].mean()
        return value, np.concatenate([of_weights.ravel(), of_intercepts])

    start = np.concatenate([np.eye(classes).ravel(), np.zeros(classes)])
    return {f"scipy L-BFGS, at most {ITERATIONS} iterations": lambda: minimized(objective, start)}


def matrix(case):
    """Matrix scaling."""
    logits, labels = logits_and_labels(case["rows"], case["classes"])
    return affine(logits.astype(np.float64), labels)


def dirichlet(case):
    """Dirichlet calibration."""
    logits, labels = logits_and_labels(case["rows"], case["classes"])
    return affine(log_softmax(logits.astype(np.float64), axis=1), labels)


def isotonic(case):
    """Isotonic regression of events on scores."""
    random = np.random.default_rng(0)
    scores = random.random(case["rows"])
    events = (random.random(case["rows"]) < scores**2).astype(np.float64)
    return {"scikit-learn": lambda: IsotonicRegression(out_of_bounds="clip").fit(scores, events)}


def metrics(case):
    """Binned calibration errors, accuracy, likelihood, Brier score and area under the risk-coverage curve."""
    logits, labels = logits_and_labels(case["rows"], case["classes"])
    tensor, targets = torch.from_numpy(logits), torch.from_numpy(labels)
    classes = case["classes"]

    def together():
        p = tensor.softmax(-1)
        for norm in ("l1", "l2", "max"):
            multiclass_calibration_error(p, targets, classes, n_bins=BINS, norm=norm)
        multiclass_accuracy(p, targets, classes, average="micro")
        array = p.numpy()
        every = np.arange(classes)
        log_loss(labels, array, labels=every)
        brier_score_loss(labels, array, labels=every)
        wrong = array.argmax(1) != labels
        order = np.argsort(-array.max(1), kind="stable")
        risks = np.cumsum(wrong[order]) / np.arange(1, len(labels) + 1)
        return risks.mean()

    return {"torchmetrics, scikit-learn, numpy": together}


def bootstrap(case):
    """Calibration errors of resampled confidences."""
    random = np.random.default_rng(0)
    rows = case["rows"]
    confidences = 0.5 + 0.5 * random.random(rows)
    gaps = (random.random(rows) < confidences) - confidences
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)

    def resampled():
        draws = np.random.default_rng(0)
        errors = np.empty(REPLICATES)
        for replicate in range(REPLICATES):
            chosen = draws.integers(rows, size=rows)
            sums = np.bincount(bins[chosen], weights=gaps[chosen], minlength=BINS)
            errors[replicate] = np.abs(sums).sum() / rows
        return np.quantile(errors, [0.025, 0.975])

    return {"numpy": resampled}


# By the name that cases.json has for them: what every peer carries out.
OPERATIONS = {
    "temperature": temperature,
    "vector_scaling": vector,
    "matrix_scaling": matrix,
    "dirichlet": dirichlet,
    "isotonic": isotonic,
    "metrics": metrics,
    "bootstrap": bootstrap,
}

# A peer that does not get further than rounding lets it says so every time.
warnings.filterwarnings("ignore", module="sklearn")
