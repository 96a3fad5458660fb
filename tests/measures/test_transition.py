"Rises of known width, time and form are recovered, from simulated seeds."

import numpy as np
import pytest

from seeing_words.core.errors import InputError
from seeing_words.measures.transition import (
    FORMS,
    SUDDEN,
    choose_form,
    form_densities,
    log_steps,
    over_seeds,
    simulated_curves,
    transition,
)

STEPS = np.unique(np.geomspace(1, 3000, 24).round())
STEPS = np.concatenate([[0], STEPS])


@pytest.mark.parametrize("fit", ["logistic", "isotonic"])
@pytest.mark.parametrize(("width", "t50"), [(0.4, 60.0), (0.8, 60.0), (1.2, 100.0)])
def test_width_and_t50_of_clean_curves(fit, width, t50):
    x = np.log10(np.maximum(STEPS, 0.5))
    # the definition: 10 % is reached half a width before t50, 90 % half a width after
    curve = 2 + 0.5 / (1 + 9.0 ** (-2 * (x - np.log10(t50)) / width))
    found = transition(STEPS, curve, fit=fit)
    assert found.width == pytest.approx(width, abs=0.08)
    assert np.log10(found.t50) == pytest.approx(np.log10(t50), abs=0.04)
    assert found.gain == pytest.approx(0.5, rel=0.03)
    mirrored = transition(STEPS, -curve, fit=fit, falling=True)
    assert mirrored.width == pytest.approx(found.width, abs=0.01)
    assert np.isnan(transition(STEPS, curve, fit=fit, falling=True).width)


def test_widths_of_noisy_seeds_are_right_on_average():
    for width in (0.5, 1.0):
        curves = [
            curve
            for seed in range(6)
            for curve in simulated_curves("logistic", STEPS, width=width, noise=0.015, seed=seed)
        ]
        found = [transition(STEPS, curve) for curve in curves]
        assert np.mean([f.width for f in found]) == pytest.approx(width, rel=0.1)
        assert np.mean(np.log10([f.t50 for f in found])) == pytest.approx(2, abs=0.05)


def test_sudden_is_told_from_gradual_over_seeds():
    called = {}
    for form, width in (("change-point", 0), ("logistic", 0.6), ("linear", 0)):
        outcomes = []
        for seed in range(10):
            how = {"width": width} if width else {}
            curves = simulated_curves(form, STEPS, noise=0.015, seed=seed, **how)
            widths = over_seeds([transition(STEPS, curve).width for curve in curves])
            outcomes.append(float(widths.draws.quantile(0.975)) < SUDDEN)
        called[form] = np.mean(outcomes)
    assert called == {"change-point": 1, "logistic": 0, "linear": 0}


def test_there_is_no_width_where_nothing_rises():
    rng = np.random.default_rng(0)
    noise = [transition(STEPS, rng.normal(size=len(STEPS))) for _ in range(50)]
    assert np.mean([np.isnan(found.width) for found in noise]) >= 0.95
    assert np.isnan(transition(STEPS, np.ones(len(STEPS))).width)


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_simulated_seeds_is_found(form):
    chosen = [
        choose_form(form_densities(STEPS, simulated_curves(form, STEPS, noise=0.015, seed=seed)))
        for seed in range(10)
    ]
    assert sum(name == form for name, *_ in chosen) >= 9


def test_a_density_is_that_of_a_normal_distribution():
    "For the line the predictive distribution is one normal distribution, written out."
    from scipy.stats import multivariate_normal

    curves = simulated_curves("linear", STEPS, n_seeds=4, seed=3)
    x = np.log10(np.maximum(STEPS, 0.5))
    h = (x - x[0]) / (x[-1] - x[0])
    design = np.column_stack([np.ones(len(x)), h])
    fits = [np.linalg.lstsq(design, y, rcond=None) for y in curves[1:]]
    ab = np.array([coefficients for coefficients, *_ in fits])
    noise = sum(squares.item() for _, squares, *_ in fits) / (3 * (len(x) - 2))
    covariance = design @ np.cov(ab.T) @ design.T * (1 + 1 / 3) + noise * np.eye(len(x))
    expected = multivariate_normal(design @ ab.mean(0), covariance).logpdf(curves[0])
    assert form_densities(STEPS, curves).linear[0] == pytest.approx(expected, rel=1e-6)


def test_the_interval_over_seeds_is_students():
    from scipy.stats import t

    values = np.array([0.2, 0.5, 0.3, 0.45])
    made = over_seeds(values)
    low, high = t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert float(made.draws.quantile(0.025)) == pytest.approx(low, abs=1e-3)
    assert float(made.draws.quantile(0.975)) == pytest.approx(high, abs=1e-3)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="at least 6 are needed for a width"):
        transition([1, 2, 3], [0, 1, 2])
    with pytest.raises(InputError, match="each larger than the last"):
        log_steps([3, 2])
    with pytest.raises(InputError, match="give one score a step"):
        transition(STEPS, [1, 2])
    with pytest.raises(InputError, match="3 or more seeds and 6 or more steps"):
        form_densities(STEPS, np.ones((2, len(STEPS))))
    curves = np.ones((3, len(STEPS)))
    curves[1, 4] = np.nan
    with pytest.raises(InputError, match="seed 1 has no score at step 4"):
        form_densities(STEPS, curves)
    with pytest.raises(InputError, match="1 seed: an interval over seeds needs 2"):
        over_seeds([1.0])
    with pytest.raises(InputError, match="'cubic' is unknown"):
        simulated_curves("cubic", STEPS)
