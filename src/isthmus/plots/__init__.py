"""Pictures of data, training and decisions, each one a matplotlib Figure.

Nothing here touches pyplot, a backend or any other global state of matplotlib, and
matplotlib itself is imported when the first picture is drawn.
"""

from isthmus.plots.confusion import plot_confusion
from isthmus.plots.files import save_figure
from isthmus.plots.heads import plot_heads
from isthmus.plots.history import plot_history
from isthmus.plots.label_shares import plot_label_shares
from isthmus.plots.predictions import plot_predictions
from isthmus.plots.reconstructions import plot_reconstructions
from isthmus.plots.reliability import plot_reliability
from isthmus.plots.samples import plot_samples
from isthmus.plots.scores import plot_ranking, plot_scores
from isthmus.plots.widths import plot_widths
from isthmus.plots.worth import plot_worth

__all__ = [
    "plot_confusion",
    "plot_heads",
    "plot_history",
    "plot_label_shares",
    "plot_predictions",
    "plot_ranking",
    "plot_reconstructions",
    "plot_reliability",
    "plot_samples",
    "plot_scores",
    "plot_widths",
    "plot_worth",
    "save_figure",
]
