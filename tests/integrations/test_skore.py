"""Reports of skore on a classifier, as it is; skipped where skore is not installed.

`make test-adapters` installs it.
"""

from pathlib import Path

import pytest
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from _pages import Page, blocks_of
from isthmus import Autoencoder, CodeClassifier

skore = pytest.importorskip("skore")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what skore imports


def quick():
    return CodeClassifier(Autoencoder(4, max_epochs=2, random_state=0))


def test_a_report_has_the_metrics_of_the_classifier():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    rows = {"X_train": X_train, "X_test": X_test, "y_train": y_train, "y_test": y_test}
    report = skore.EstimatorReport(quick(), **rows)
    expected = accuracy_score(y_test, quick().fit(X_train, y_train).predict(X_test))
    assert report.metrics.accuracy() == expected
    assert "roc_auc_avg_macro" in report.metrics.summarize().frame()


def test_cross_validation_reports_on_each_fold():
    X, y = load_wine(return_X_y=True)
    report = skore.CrossValidationReport(quick(), X=X, y=y, splitter=3)
    accuracies = [one.metrics.accuracy() for one in report.reports_]
    assert len(accuracies) == 3
    assert min(accuracies) > 0.5


def test_the_block_of_the_page_runs(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "integrations.md"
    (block,) = (one for one in blocks_of(page) if "import EstimatorReport" in one.code)
    Page(tmp_path).run(block)
