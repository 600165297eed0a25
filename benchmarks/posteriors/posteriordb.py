"""A user's own clone of posteriordb (https://github.com/stan-dev/posteriordb), read as it is.

Its folder ``posterior_database`` holds ``posteriors/NAME.json``, which tells the data's name, and
``data/data/DATA.json.zip``. Regressions become a QR factor and least squares, as
`benchmarks.posteriors.formulas` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

Raw = Mapping[str, Any]
_SUBSTEPS = 5  # of a year, of the Runge-Kutta scheme


def targets(clone: Path) -> dict[str, Any]:
    """The posteriors that are formulas here, with the clone's data."""
    folder = clone / "posterior_database" if (clone / "posterior_database").is_dir() else clone
    if not (folder / "posteriors").is_dir():
        raise SystemExit(
            f"{clone} is no clone of posteriordb: it has no folder posterior_database/posteriors; "
            "git clone https://github.com/stan-dev/posteriordb and give its folder"
        )
    found = {}
    for name, (family, made) in _POSTERIORS.items():
        file = folder / f"posteriors/{name}.json"
        if file.exists():
            data_name = json.loads(file.read_text("utf-8"))["data_name"]
            with ZipFile(folder / f"data/data/{data_name}.json.zip") as archive:
                data = made(json.loads(archive.read(f"{data_name}.json")))
            found[name] = {"family": family, "data": data, "dim": _dim(family, data)}
    if not found:
        raise SystemExit(f"{clone} holds none of the posteriors {', '.join(_POSTERIORS)}")
    return found


def _dim(family: str, data: Raw) -> int:
    known = {"arma11": 4, "hmm_example": 4, "hmm_drive_1": 6, "lotka_volterra": 8}
    if family in known:
        return known[family]
    if family == "regression":
        return len(data["beta_hat"]) + 1
    return 2 + len(data["y" if family == "eight_schools_noncentered" else "x"])


def _regression(columns: Any, response: Any, **prior: Any) -> dict[str, Any]:
    X, y = np.column_stack(columns).astype(np.float64), np.asarray(response, dtype=np.float64)
    p = X.shape[1]
    q, R = np.linalg.qr(X)
    hat = np.linalg.solve(R, q.T @ y)
    residual = y - X @ hat
    flat = {"beta_prior": "flat", "beta_mean": [0.0] * p, "beta_sd": [1.0] * p}
    flat |= {"sigma_prior": "flat", "sigma_df": 1.0, "sigma_scale": 1.0}
    return flat | {
        "n": len(y),
        "yy": float(y @ y),
        "Xy": (X.T @ y).tolist(),
        "XX": (X.T @ X).tolist(),
        "beta_hat": hat.tolist(),
        "rss": float(residual @ residual),
        "R": R[np.triu_indices(p)].tolist(),
        **prior,
    }


def _columns(raw: Raw, *names: str) -> list[Any]:
    return [np.asarray(raw[name], dtype=np.float64) for name in names]


def _with_product(a: Any, b: Any) -> list[Any]:
    return [np.ones(len(a)), a, b, a * b]


def _earnings(raw: Raw, *, kind: str) -> dict[str, Any]:
    earn, height, male = _columns(raw, "earn", "height", "male")
    z = (height - height.mean()) / height.std(ddof=1)
    columns = {
        "height": [np.ones(len(earn)), height],
        "height_male": [np.ones(len(earn)), height, male],
        "interaction_z": _with_product(z, male),
    }
    return _regression(columns[kind], np.log(earn))


def _kidiq(raw: Raw, *, kind: str) -> dict[str, Any]:
    score, school, iq = _columns(raw, "kid_score", "mom_hs", "mom_iq")
    halves = [(one - one.mean()) / (2 * one.std(ddof=1)) for one in (school, iq)]
    columns = {
        "momiq": [np.ones(len(iq)), iq],
        "interaction": _with_product(school, iq),
        "interaction_c2": _with_product(school - 0.5, iq - 100.0),
        "interaction_z": _with_product(*halves),
    }
    cauchy = {"sigma_prior": "student", "sigma_df": 1.0, "sigma_scale": 2.5}
    prior = cauchy if kind in ("momiq", "interaction") else {}
    return _regression(columns[kind], score, **prior)


def _mesquite(raw: Raw, *, kind: str) -> dict[str, Any]:
    names = ("diam1", "diam2", "canopy_height", "total_height", "density")
    first, second, canopy, total, density = map(np.log, _columns(raw, *names))
    weight, group = _columns(raw, "weight", "group")
    one, area = np.ones(len(weight)), first + second
    columns = {
        "": [one, first, second, canopy, total, density, group],
        "vas": [one, area + canopy, area, first - second, total, density, group],
        "volume": [one, area + canopy],
    }
    return _regression(columns[kind], np.log(weight))


def _nes(raw: Raw) -> dict[str, Any]:
    party, ideology, race, age = _columns(raw, "partyid7", "real_ideo", "race_adj", "age_discrete")
    ages = [age == group for group in (2, 3, 4)]
    rest = _columns(raw, "educ1", "gender", "income")
    return _regression([np.ones(len(party)), ideology, race, *ages, *rest], party)


def _kilpisjarvi(raw: Raw) -> dict[str, Any]:
    (x, y) = _columns(raw, "x", "y")
    mean, sd = ([raw[f"{p}alpha"], raw[f"{p}beta"]] for p in ("pmu", "ps"))
    return _regression([np.ones(len(x)), x], y, beta_prior="normal", beta_mean=mean, beta_sd=sd)


def _blr(raw: Raw) -> dict[str, Any]:
    X = np.asarray(raw["X"])
    given = {"beta_sd": [10.0] * X.shape[1], "sigma_scale": 10.0}
    return _regression(X.T, raw["y"], beta_prior="normal", sigma_prior="normal", **given)


def _as_it_is(*names: str, **more: Any) -> Callable[[Raw], dict[str, Any]]:
    return lambda raw: {name: raw[name] for name in names} | more


def _of(made: Callable[..., dict[str, Any]], kind: str) -> tuple[str, Any]:
    return "regression", lambda raw: made(raw, kind=kind)


#: Of each posterior the family and what it takes from the data.
_POSTERIORS: Mapping[str, tuple[str, Callable[[Raw], dict[str, Any]]]] = {
    "arma-arma11": ("arma11", _as_it_is("y")),
    "bball_drive_event_1-hmm_drive_1": (
        "hmm_drive_1", _as_it_is("u", "v", "alpha", "tau", "rho"),
    ),
    "earnings-logearn_height": _of(_earnings, "height"),
    "earnings-logearn_height_male": _of(_earnings, "height_male"),
    "earnings-logearn_interaction_z": _of(_earnings, "interaction_z"),
    "eight_schools-eight_schools_noncentered": (
        "eight_schools_noncentered", _as_it_is("y", "sigma"),
    ),
    "gp_pois_regr-gp_pois_regr": ("gp_pois_regr", _as_it_is("x", "k")),
    "hmm_example-hmm_example": ("hmm_example", _as_it_is("y")),
    "hudson_lynx_hare-lotka_volterra": (
        "lotka_volterra", _as_it_is("ts", "y_init", "y", substeps=_SUBSTEPS),
    ),
    "kidiq-kidscore_interaction": _of(_kidiq, "interaction"),
    "kidiq-kidscore_momiq": _of(_kidiq, "momiq"),
    "kidiq_with_mom_work-kidscore_interaction_c2": _of(_kidiq, "interaction_c2"),
    "kidiq_with_mom_work-kidscore_interaction_z": _of(_kidiq, "interaction_z"),
    "kilpisjarvi_mod-kilpisjarvi": ("regression", _kilpisjarvi),
    "mesquite-logmesquite": _of(_mesquite, ""),
    "mesquite-logmesquite_logvas": _of(_mesquite, "vas"),
    "mesquite-logmesquite_logvolume": _of(_mesquite, "volume"),
    **{f"nes{year}-nes": ("regression", _nes) for year in (1972, 1980, 1992, 1996)},
    "sblrc-blr": ("regression", _blr),
}  # fmt: skip
NAMES = tuple(_POSTERIORS)
