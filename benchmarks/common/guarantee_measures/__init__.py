"""What `guarantees.py` measures, one file a measure; `MEASURES` maps the name of each to it."""

from common.guarantee_measures import (
    acceptance,
    alarm_rates,
    contamination,
    groups,
    monitor,
    prediction_sets,
    selection,
    series_monitor,
)

MEASURES = {
    module.MEASURE.name: module.MEASURE
    for module in (
        alarm_rates,
        selection,
        contamination,
        monitor,
        series_monitor,
        prediction_sets,
        acceptance,
        groups,
    )
}
