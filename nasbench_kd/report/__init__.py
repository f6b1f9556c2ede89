"""Reports: pure functions of stored runs."""

from nasbench_kd.report.compare import Compared, Difference, compare
from nasbench_kd.report.html import write_html
from nasbench_kd.report.leaderboard import Overall, Row
from nasbench_kd.report.write import Report, write_report

__all__ = ["Compared", "Difference", "Overall", "Report", "Row", "compare", "write_html", "write_report"]
