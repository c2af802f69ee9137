from .alarms_chapter import alarm_facts as alarm_facts
from .facts import report_facts as report_facts
from .page import write_report as write_report
