"""The series "pump": four sensors of a simulated pump, with anomalies of seven kinds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Minutes of normal work to learn from, and of work with anomalies to test on.
N_TRAIN, N_TEST = 4000, 2000
CHANNELS = ("pressure", "flow", "temperature", "vibration")
TIME, LABEL = "datetime", "anomaly"
#: Channel of an anomaly of the load, which all sensors follow.
ALL = "all"
START = "2026-03-02 00:00"
#: Minutes of a cycle: the pump fills a tank, then rests.
CYCLE, RUNNING = 60, 36
WARM_UP = 6 * CYCLE
_DAY = 1440


@dataclass(frozen=True)
class Event:
    """An anomaly of the test part.

    Attributes
    ----------
    first, n : int
        First minute of the test part, and number of minutes.
    kind : str
    channel : str
        The sensor on which it is seen, or "all".
    """

    first: int
    n: int
    kind: str
    channel: str


EVENTS = (
    Event(150, 5, "spike", "vibration"),
    Event(330, 70, "level shift", "pressure"),
    Event(590, 80, "stuck sensor", "flow"),
    Event(860, 70, "lost correlation", "vibration"),
    Event(1120, 120, "changed period", ALL),
    Event(1440, 90, "drift", "temperature"),
    Event(1680, 40, "noise", "pressure"),
    Event(1850, 4, "spike", "temperature"),
)


def pump_table(part: str = "all", seed: int = 0) -> pd.DataFrame:
    """Return the readings of a pump, one row a minute.

    Every hour the pump fills a tank for about 36 minutes and rests, less at night. Pressure and
    flow follow the load, the temperature follows it slowly and the day too, and vibration and its
    noise grow with the load. All have noise that is alike from minute to minute, and the
    temperature drifts a little. The test part has eight anomalies, see `pump_events`.

    Parameters
    ----------
    part : {"train", "test", "all"}
    seed : int
        Of the noise and of the lengths of the cycles.

    Returns
    -------
    DataFrame of shape (4000, 6), (2000, 6) or (6000, 6)
        `datetime`, `pressure` (bar), `flow` (m3/h), `temperature` (degrees Celsius), `vibration`
        (mm/s) and `anomaly` (0 or 1), which is 0 in all of the training part.

    Examples
    --------
    >>> table = pump_table("test")
    >>> len(table), int(table["anomaly"].sum()), str(table["datetime"].iloc[0])
    (2000, 479, '2026-03-04 18:40:00')
    """
    n = N_TRAIN + N_TEST
    rng = np.random.default_rng([seed, 7])
    period = np.full(n, float(CYCLE))
    for event in EVENTS:
        if event.kind == "changed period":
            period[_minutes(event)] = CYCLE / 2.4
    # The first hours, in which the pump warms up, are left out.
    load = _load(WARM_UP + n, np.r_[period[:WARM_UP], period], rng)
    warmth, load = _lagged(load, 25)[WARM_UP:], load[WARM_UP:]
    day = np.sin(2 * np.pi * (np.arange(n) - 9 * 60) / _DAY)
    readings = {
        "pressure": 2.2 + 2.1 * load + _noise(n, 0.05, 0.5, rng),
        "flow": 0.4 + 11.5 * load + 0.5 * load * day + _noise(n, 0.22, 0.4, rng),
        "temperature": (
            33.0 + 2.0 * day + 17 * warmth + 0.9 * np.linspace(0, 1, n)
            + _noise(n, 0.22, 0.9, rng)
        ),
        "vibration": (
            0.5 + 1.5 * load * (1 + 0.05 * day) + _noise(n, 0.1, 0.2, rng) * (0.5 + load)
        ),
    }  # fmt: skip
    label = np.zeros(n, dtype=np.int64)
    for event in EVENTS:
        at = _minutes(event)
        label[at] = 1
        if event.channel != ALL:
            _disturb(readings[event.channel], at, event.kind, rng)
    table = pd.DataFrame({TIME: pd.date_range(START, periods=n, freq="min")})
    for name in CHANNELS:
        table[name] = np.round(np.maximum(readings[name], 0), 3)
    table[LABEL] = label
    first, end = {"train": (0, N_TRAIN), "test": (N_TRAIN, n), "all": (0, n)}[part]
    return table.iloc[first:end].reset_index(drop=True)


def pump_events() -> pd.DataFrame:
    """Return the anomalies of the test part: `first`, `last`, `kind` and `channel`.

    Returns
    -------
    DataFrame of four rows

    Examples
    --------
    >>> pump_events()[["kind", "channel"]].iloc[2].tolist()
    ['stuck sensor', 'flow']
    """
    start = pd.Timestamp(START) + pd.Timedelta(minutes=N_TRAIN)
    return pd.DataFrame([
        {
            "first": start + pd.Timedelta(minutes=event.first),
            "last": start + pd.Timedelta(minutes=event.first + event.n - 1),
            "kind": event.kind,
            "channel": event.channel,
        }
        for event in EVENTS
    ])  # fmt: skip


def _minutes(event: Event) -> slice:
    return slice(N_TRAIN + event.first, N_TRAIN + event.first + event.n)


def _load(n: int, period: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the share of its power at which the pump works, in [0, 1]."""
    load, at = np.zeros(n), 0
    while at < n:
        cycle = period[at] * rng.uniform(0.96, 1.04)
        night = 0.5 - 0.5 * np.sin(2 * np.pi * (at - WARM_UP - 9 * 60) / _DAY)
        running = cycle * (RUNNING / CYCLE) * (1 - 0.15 * night)
        load[at : at + round(running)] = rng.uniform(0.92, 1.0)
        at += max(2, round(cycle))
    return _lagged(load, 1.5)  # valves open and close within minutes


def _lagged(values: np.ndarray, minutes: float) -> np.ndarray:
    """Return what follows values as a body warms up: after `minutes` to 63 %."""
    found, level, share = np.empty(len(values)), values[0], 1 - np.exp(-1 / minutes)
    for at, value in enumerate(values):
        level += share * (value - level)
        found[at] = level
    return found


def _noise(n: int, scale: float, memory: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise with this standard deviation and correlation from minute to minute."""
    shocks = rng.normal(0, scale * np.sqrt(1 - memory**2), n)
    found, level = np.empty(n), 0.0
    for at, shock in enumerate(shocks):
        level = memory * level + shock
        found[at] = level
    return found


def _disturb(readings: np.ndarray, at: slice, kind: str, rng: np.random.Generator) -> None:
    n = at.stop - at.start
    spread = readings[:N_TRAIN].std()
    if kind == "spike":
        readings[at] += spread * rng.uniform(3, 5, n)
    elif kind == "level shift":
        readings[at] -= 0.8 * spread
    elif kind == "stuck sensor":
        readings[at] = readings[at.start]
    elif kind == "lost correlation":
        # What the load was half an hour before: each value is usual, but not with the others.
        readings[at] = readings[at.start - 30 : at.stop - 30]
    elif kind == "drift":
        readings[at] += np.linspace(0, 1.6 * spread, n)
    elif kind == "noise":
        readings[at] += rng.normal(0, 0.5 * spread, n)
