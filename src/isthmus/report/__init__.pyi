from .facts import report_facts as report_facts
from .page import write_report as write_report
