"""Instances in a report: a sample of a stream, and the HTML that shows instances."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from isthmus.autoencoder import Autoencoder, InstanceEncoder
from isthmus.bundle import Bundle, rows_used_in_fit
from isthmus.classification import CodeClassifier
from isthmus.data import Chunk, ClassMatcher, Dataset, Splits, in_file, take_rows
from isthmus.data.streaming import MAX_SAMPLED, Stream
from isthmus.detection import AnomalyDetector
from isthmus.errors import DataError
from isthmus.evaluation import ClassTally, decide, select_rows
from isthmus.report.wording import breakable, short_text, unbroken_parts

#: Instances of a stream that are drawn to describe the data and to be shown.
MAX_SAMPLE_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class StreamSample:
    """Instances drawn from a stream: `data`, whose row numbers are those in the stream."""

    stream: Stream
    data: Dataset
    in_memory: ClassVar[Literal[True]] = True


def sample_stream(stream: Stream, encoder: Autoencoder, seed: int) -> StreamSample:
    """Draw instances uniformly, or take all where there are few."""
    rows = stream.draw(MAX_SAMPLE_ROWS, [seed, 7])
    return StreamSample(stream, stream.take(rows, schema=encoder.schema_))


def hold_out(
    data: Dataset | Splits | Stream, test_fraction: float, encoder: Autoencoder, seed: int
) -> tuple[Splits, int | None]:
    """Split data for a report; of a stream `MAX_SAMPLED` instances at most, drawn at random.

    Returns
    -------
    splits : Splits
    drawn_from : int or None
        Instances of the stream, where fewer were drawn.

    Raises
    ------
    DataError
        When the data has a test part already.
    """
    drawn_from = None
    if not data.in_memory:
        stream, data = data, data.sample(MAX_SAMPLED, 0, encoder.schema_)
        drawn_from = len(stream) if len(data) < len(stream) else None
    if data.test is not None:
        raise DataError(
            f"{data.name} has a test part already; leave test_fraction out (on the command line "
            "--split)"
        )
    return data.train.split(test_fraction, random_state=seed), drawn_from


def sample_if_streamed(
    data: Dataset | Splits | Stream | StreamSample | None,
    encoder: Autoencoder,
    seed: int,
    on_progress: Callable[[str], object],
) -> Dataset | Splits | StreamSample | None:
    """Return data in memory unchanged, and a sample of a stream."""
    if data is None or data.in_memory:
        return data
    on_progress("instances drawn at random")
    return sample_stream(data, encoder, seed)


@dataclass
class TestResult:
    """Result of a head on all rows of a stream that it was not fitted or calibrated on.

    Attributes
    ----------
    n_known : int
        Rows that it was fitted or calibrated on, which are left out.
    tally : ClassTally
        Of a classifier.
    labels : list of int8 arrays
        Of a detector: 1 normal, -1 abnormal, 0 unlabelled.
    scores : list of float64 arrays
        Of a detector: the anomaly scores.
    groups : list of object arrays
        Of a detector by group.
    refused : DataError or None
        Of a classifier: why the labels cannot test it, such as those of a detector.
    """

    n_known: int = 0
    tally: ClassTally = field(default_factory=ClassTally)
    labels: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    groups: list[np.ndarray] = field(default_factory=list)
    refused: DataError | None = None


def evaluate_heads_on_stream(
    stream: Stream, bundle: Bundle, labels_of: Callable[[Any], np.ndarray | None]
) -> dict[str, TestResult]:
    """Test every head on all rows of a stream, in one pass.

    Parameters
    ----------
    stream : Stream
    bundle : Bundle
    labels_of : callable
        From the labels of a chunk to those for detectors, None where it cannot read them.

    Returns
    -------
    dict
        By the names of the heads.
    """
    encoder, found = bundle.encoder, {name: TestResult() for name in bundle.heads}
    matchers = {
        name: ClassMatcher(head.classes_)
        for name, head in bundle.heads.items()
        if not isinstance(head, AnomalyDetector)
    }
    for chunk in stream.chunks(label=True, keys=bool(stream.group_columns)):
        hashes, codes = encoder.row_hashes(chunk.X), encoder.transform(chunk.X)
        for name, head in bundle.heads.items():
            if isinstance(head, AnomalyDetector):
                _verdicts(found[name], head, chunk, hashes, labels_of(chunk.y))
            elif chunk.y is not None and found[name].refused is None:
                _classes(found[name], head, matchers[name], chunk.y, codes, hashes)
    return found


def _verdicts(
    found: TestResult,
    detector: AnomalyDetector,
    chunk: Chunk,
    hashes: np.ndarray,
    labels: np.ndarray | None,
) -> None:
    rows = np.flatnonzero(~rows_used_in_fit(detector, hashes))
    found.n_known += len(hashes) - len(rows)
    if len(rows):
        found.scores.append(-detector.score_samples(select_rows(chunk.X, rows)))
        found.labels.append(np.zeros(len(rows), np.int8) if labels is None else labels[rows])
        if chunk.groups is not None:
            found.groups.append(chunk.groups[rows])


def _classes(
    found: TestResult,
    classifier: CodeClassifier,
    matcher: ClassMatcher,
    y: np.ndarray,
    codes: np.ndarray,
    hashes: np.ndarray,
) -> None:
    head = classifier.standardised_head_
    try:
        rows, labels = matcher.labelled(y)
    except DataError as error:
        found.refused = error
        return
    new = ~rows_used_in_fit(classifier, hashes[rows])
    found.n_known += int((~new).sum())
    if new.any():
        found.tally.update(labels[new], *decide(head, codes[rows[new]]), head.classes_)


#: Pixels of an image's longer side on the page, and steps of a series' curve.
MAX_PIXELS, MAX_STEPS, MAX_CHANNELS, MAX_COLUMNS = 96, 64, 3, 5
#: Pixels of the longer side on the map, where there are many.
ON_MAP = 28
COLOURS = ("#0072B2", "#D55E00", "#E69F00")


class Gallery:
    """HTML of single instances of a part of the data.

    Parameters
    ----------
    encoder : Autoencoder
    part : Dataset
        Its instances are named by their numbers in the data that was read, see
        `Dataset.row_numbers`, as in predictions.
    beside : Dataset, optional
        Another part, whose series are drawn on the same scales.
    """

    def __init__(
        self, encoder: InstanceEncoder, part: Dataset, beside: Dataset | None = None
    ) -> None:
        self.encoder, self.part, self.kind = encoder, part, part.kind
        self.low, self.high = encoder.schema_.minimum, encoder.schema_.maximum
        files = self.kind == "images" and part.keys is not None and "file" in part.keys
        self._files = part.keys["file"].tolist() if files and part.keys is not None else None
        self.spans = channel_spans(part, beside) if self.kind == "series" else []
        self._places = {number: at for at, number in enumerate(part.row_numbers().tolist())}

    def name(self, row: int) -> str:
        """Return the name of the file of an instance, or its row; of a window where it begins."""
        at = self._places[row]
        if self._files is not None:
            return str(self._files[at])
        name = f"{'window' if self.kind == 'series' else 'row'} {row}"
        if self.part.windows is None:
            found = None if self.part.file_of is None else self.part.file_of(row)
            return in_file(name, found, name.split()[0])
        one = self.part.windows.take(np.array([at])).to_frame().iloc[0]
        begin = f"row {one['first_row']}" if "first_row" in one else short_text(one["first_time"])
        groups = [short_text(value) for value in one.iloc[:-2]]
        return name + f", from {begin}" + f" of {', '.join(groups)}" * bool(groups)

    def one(self, row: int) -> Markup:
        """Return an instance."""
        values = self._take([row])
        if self.kind == "images":
            return _img(_pixels(values[0], self.low, self.high), self.name(row))
        if self.kind == "series":
            return _curves(values[0], self.name(row), self.spans)
        frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame(values)
        shown = [(str(name), frame.iloc[0][name]) for name in frame.columns[:MAX_COLUMNS]]
        return _rows([(name, short_text(value)) for name, value in shown], frame.shape[1])

    def rebuilt(self, rows: list[int]) -> list[tuple[Markup, ...]]:
        """Return original, reconstruction and difference of each instance.

        The original alone, of an encoder without decoder.
        """
        if not self.encoder.has_decoder:
            return [(self.one(row),) for row in rows]
        values = self._take(rows)
        again = self.encoder.inverse_transform(self.encoder.transform(values))
        if self.kind == "table":
            return [self._row_rebuilt(values, again, at) for at in range(len(rows))]
        found: list[tuple[Markup, ...]] = []
        for row, before, after in zip(rows, np.asarray(values), again, strict=True):
            difference = np.abs(before.astype(float) - after.reshape(before.shape))
            if self.kind == "images":
                found.append(
                    (
                        _img(_pixels(before, self.low, self.high), self.name(row)),
                        _img(_pixels(after.reshape(before.shape), self.low, self.high), "rebuilt"),
                        _img(_heat(difference, self.high - self.low), "difference"),
                    )
                )
            else:
                after = after.reshape(before.shape)
                # One scale for all three, or small differences would look like large ones.
                widths = [(0.0, high - low) for low, high in self.spans]
                found.append(
                    (
                        _curves(before, self.name(row), self.spans),
                        _curves(after, "rebuilt", self.spans),
                        _curves(difference, "difference", widths),
                    )
                )
        return found

    def on_map(self, rows: list[int]) -> dict[str, Any]:
        """Return what the map shows for each point: a sprite of images, curves, or texts."""
        values = self._take(rows)
        if self.kind == "images":
            images = [_shrunk(_pixels(image, self.low, self.high), ON_MAP) for image in values]
            side = max(max(image.size) for image in images)
            across = int(np.ceil(np.sqrt(len(images))))
            sheet = Image.new(images[0].mode, (across * side, across * side))
            for at, image in enumerate(images):
                sheet.paste(image, (at % across * side, at // across * side))
            return {"sprite": _uri(sheet), "side": side, "across": across}
        if self.kind == "series":
            curves = [np.round(_scaled(window, self.spans).T, 3).tolist() for window in values]
            return {"curves": curves, "colours": COLOURS}
        frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame(values)
        frame = frame.iloc[:, :MAX_COLUMNS]
        texts = [
            [f"{name}: {short_text(value)}" for name, value in zip(frame.columns, row, strict=True)]
            for row in frame.itertuples(index=False)
        ]
        return {"texts": texts}

    def legend(self) -> list[tuple[str, str, str]]:
        """Return the name, colour and range of each channel that is drawn."""
        names = self.part.channel_names or [f"channel {at}" for at in range(len(self.spans))]
        return [
            (str(name), colour, f"{short_text(low)} to {short_text(high)}")
            for name, colour, (low, high) in zip(names, COLOURS, self.spans, strict=False)
        ]

    def _take(self, rows: Sequence[int]) -> Any:
        return take_rows(self.part.X, np.array([self._places[row] for row in rows]))

    def _row_rebuilt(self, values: Any, again: Any, at: int) -> tuple[Markup]:
        before, after = (
            pd.DataFrame(part).reset_index(drop=True).iloc[at] for part in (values, again)
        )
        far = self._residual(values, at)
        worst = np.argsort(-far, kind="stable")[:MAX_COLUMNS]
        lines = [
            (str(before.index[c]), f"{short_text(before.iloc[c])} → {short_text(after.iloc[c])}")
            for c in worst
        ]
        return (_rows(lines, len(before)),)

    def _residual(self, values: Any, at: int) -> np.ndarray:
        """Return how far each column of a row is from what was rebuilt, standardised."""
        one = values.iloc[[at]] if isinstance(values, pd.DataFrame) else values[[at]]
        batch = next(iter(self.encoder.reconstruct(one)))
        squared = (batch.inputs - batch.outputs).square().numpy()
        return self.encoder.preprocessor_.per_feature(squared)[0]


def _pixels(image: np.ndarray, low: float, high: float) -> Image.Image:
    values = np.asarray(image, dtype=float)
    if values.ndim == 3 and values.shape[2] not in (1, 3):
        values = values.mean(axis=2)
    low, high = (0.0, 255.0) if high > 1 and low >= 0 else (min(low, 0.0), max(high, 1.0))
    scaled = np.clip(255 * (values - low) / max(high - low, 1e-12), 0, 255).astype(np.uint8)
    return Image.fromarray(scaled[..., 0] if scaled.ndim == 3 and scaled.shape[2] == 1 else scaled)


def _heat(difference: np.ndarray, span: float) -> Image.Image:
    """Return the difference as an image, from white (none) to orange."""
    values = difference.mean(axis=2) if difference.ndim == 3 else difference
    share = np.clip(values / max(span, 1e-12), 0, 1)[..., None]
    near, far = np.array([255, 255, 255.0]), np.array([213, 94, 0.0])
    return Image.fromarray((near + np.sqrt(share) * (far - near)).astype(np.uint8))


def _shrunk(image: Image.Image, most: int) -> Image.Image:
    if max(image.size) <= most:
        return image
    ratio = most / max(image.size)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _img(image: Image.Image, alt: str) -> Markup:
    small = _shrunk(image, MAX_PIXELS)
    return Markup('<img class="instance" src="{}" alt="{}">').format(_uri(small), alt)


def _uri(image: Image.Image) -> str:
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _thin(window: np.ndarray) -> np.ndarray:
    window = window.reshape(len(window), -1)[:, :MAX_CHANNELS]
    if len(window) <= MAX_STEPS:
        return window
    return window[np.linspace(0, len(window) - 1, MAX_STEPS).round().astype(int)]


def channel_spans(part: Dataset, beside: Dataset | None = None) -> list[tuple[float, float]]:
    """Return the lowest and the highest reading of each channel, of both parts together.

    A channel of some thousands would otherwise make a line of one of some tens.

    Examples
    --------
    >>> import isthmus
    >>> table = pd.DataFrame({"heat": [20.0, 21.0, 20.2, 20.5], "rpm": [1500, 1510, 1490, 1500]})
    >>> channel_spans(isthmus.load(table, kind="series", window=2))
    [(20.0, 21.0), (1490.0, 1510.0)]
    """
    given = [one.X for one in (part, beside) if one is not None]
    low = np.min([X.min(axis=(0, 1)) for X in given], axis=0)
    high = np.max([X.max(axis=(0, 1)) for X in given], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _scaled(window: np.ndarray, spans: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the channels that are drawn, from 0 to 1 on their scales."""
    curve = _thin(np.asarray(window, dtype=float))
    low, high = np.transpose(spans[: curve.shape[1]])
    scaled: np.ndarray = np.clip((curve - low) / np.maximum(high - low, 1e-12), 0, 1)
    return scaled


def _curves(window: np.ndarray, alt: str, spans: Sequence[tuple[float, float]]) -> Markup:
    """Draw channels, each on the scale given."""
    heights = 38 - 36 * _scaled(window, spans)
    x = np.linspace(1, 95, len(heights))
    lines = Markup("").join(
        Markup('<polyline points="{}" stroke="{}"/>').format(
            " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, heights[:, c], strict=True)), COLOURS[c]
        )
        for c in range(heights.shape[1])
    )
    return Markup(
        '<svg class="instance curve" viewBox="0 0 96 40" role="img" aria-label="{}">{}</svg>'
    ).format(alt, lines)


def _rows(lines: list[tuple[str, str]], n_columns: int) -> Markup:
    items = Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(breakable(name), unbroken_parts(value))
        for name, value in lines
    )
    more = n_columns - len(lines)
    more_columns = Markup("<p>and {} more column{}</p>").format(more, "s" * (more > 1))
    rest = more_columns if more > 0 else Markup("")
    return Markup('<div class="instance row"><dl>{}</dl>{}</div>').format(items, rest)
