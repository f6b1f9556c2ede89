"""Reports: pure functions of stored runs."""

from nasbench_kd.report.leaderboard import Overall, Row
from nasbench_kd.report.write import Report, write_report

__all__ = ["Overall", "Report", "Row", "write_report"]
