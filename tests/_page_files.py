"""The small files that the pages of the documentation name, and do not make themselves."""

import numpy as np
import pandas as pd
from PIL import Image

from isthmus import AnomalyDetector, Autoencoder, CodeClassifier, load, save_bundle
from isthmus.data import pump_table


def sensors(n, seed=0, abnormal=0.0):
    """Return rows of a press: three sensors, the machine, and `kind`: ok, leak or block."""
    rng = np.random.default_rng(seed)
    kind = np.where(rng.random(n) < abnormal, rng.choice(["leak", "block"], n), "ok")
    pressure = rng.normal(10, 1, n) - 6 * (kind == "leak") + 6 * (kind == "block")
    return pd.DataFrame(
        {
            "pressure": pressure.round(3),
            "flow": (2 * pressure + rng.normal(0, 0.5, n) + 9 * (kind == "leak")).round(3),
            "temperature": rng.normal(40, 2, n).round(2),
            "machine": rng.choice(["north", "south"], n),
            "kind": kind,
        }
    )


def press(folder):
    """Tables of a press without a column of machines."""
    of_all = {"machine"}
    sensors(500).drop(columns=of_all | {"kind"}).to_csv(folder / "normal.csv", index=False)
    sensors(300, 1, 0.4).drop(columns=of_all).to_csv(folder / "labelled.csv", index=False)
    sensors(60, 2, 0.2).drop(columns=of_all | {"kind"}).to_csv(folder / "new.csv", index=False)


def machines(folder):
    """Tables of a press with the machine of each row."""
    sensors(500).drop(columns="kind").to_csv(folder / "parts.csv", index=False)
    sensors(300, 1, 0.4).to_csv(folder / "labelled.csv", index=False)
    sensors(60, 2, 0.2).drop(columns="kind").to_csv(folder / "new.csv", index=False)


def long_table(seed, n=400):
    """Return readings of two machines over time, with the state of each."""
    rng, parts = np.random.default_rng(seed), []
    for name, period in {"north": 20, "south": 32}.items():
        t = np.arange(n)
        level = (t // 100) % 2
        parts.append(
            pd.DataFrame(
                {
                    "t": t,
                    "machine": name,
                    "pressure": level + np.sin(2 * np.pi * t / period) + rng.normal(0, 0.1, n),
                    "flow": np.cos(2 * np.pi * t / period) + rng.normal(0, 0.1, n),
                    "state": np.where(level == 1, "high", "low"),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def events(folder, name="events", parts=range(3)):
    """Parquet files of events, with an id and a state."""
    (folder / name).mkdir()
    for part in parts:
        table = sensors(400, part, 0.1).drop(columns="machine")
        table["state"] = np.where(table.pop("kind") == "ok", "low", "high")
        table.insert(0, "id", np.arange(400) + 400 * part)
        table.to_parquet(folder / name / f"{part}.parquet")


def images(folder):
    """A folder of images, single ones, and a Parquet file of images."""
    digits = load("digits").test
    pixels = (digits.X * 255).round().astype(np.uint8)
    (folder / "photos").mkdir()
    for row, image in enumerate(pixels[:150]):
        Image.fromarray(image).save(folder / "photos" / f"{row}.png")
    for row, name in enumerate(("a.png", "b.jpg", "digit.png", "one.jpg", "two.webp")):
        Image.fromarray(pixels[row]).save(folder / name)
    encoded = [{"bytes": p.read_bytes(), "path": p.name} for p in (folder / "photos").iterdir()]
    labels = [int(label) for label in digits.y[: len(encoded)]]
    pd.DataFrame({"image": encoded, "label": labels}).to_parquet(folder / "train.parquet")


def data(folder):
    """What docs/data.md names."""
    images(folder)
    events(folder)
    long_table(0).to_parquet(folder / "readings.parquet")
    long_table(1).to_csv(folder / "labelled.csv", index=False)
    long_table(2).drop(columns="state").to_csv(folder / "new.csv", index=False)


def export(folder):
    """What docs/export.md names."""
    pump_table("test").drop(columns="anomaly").to_csv(folder / "pump.csv", index=False)


def scale(folder):
    """What docs/scale.md names."""
    events(folder)
    (folder / "readings").mkdir()
    for part in range(2):
        table = long_table(part).drop(columns="state")
        table.to_parquet(folder / "readings" / f"{part}.parquet")
    events(folder, "later", range(3, 5))
    later = pd.concat(pd.read_parquet(p) for p in sorted((folder / "later").iterdir()))
    later[["id", "state"]].iloc[::5].to_csv(folder / "later.csv", index=False)


def serve(folder):
    """What docs/serve.md names: tables, and bundles of images and of a series."""
    press(folder)
    images(folder)
    export(folder)
    table = sensors(60, 2, 0.2).drop(columns="machine")
    table["good"] = (table.pop("kind") == "ok").astype(int)
    table.to_csv(folder / "checked.csv", index=False)
    digits = load("digits")
    encoder = Autoencoder(random_state=0).fit(digits.train.X[:300])
    head = CodeClassifier(encoder).fit(digits.train.X[:300], digits.train.y[:300])
    save_bundle(folder / "images", encoder, {"digit": head})
    detector = AnomalyDetector(Autoencoder(random_state=0), false_alarms="1 per day")
    train = pump_table("train").drop(columns="anomaly")
    detector.fit(load(train, kind="series", time="datetime"))
    save_bundle(folder / "pump", detector.encoder_, {"normal": detector})


def readme(folder):
    """A table of somebody's own."""
    sensors(200, 0, 0.1).to_csv(folder / "yours.csv", index=False)


#: By page, what makes the files that it names.
FILES = {
    "README.md": readme,
    "data.md": data,
    "detection.md": machines,
    "export.md": export,
    "report.md": press,
    "scale.md": scale,
    "serve.md": serve,
}
