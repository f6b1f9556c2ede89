"""Reports: pure functions of stored runs."""

from nasbench_kd.report.compare import Compared, Difference, compare
from nasbench_kd.report.html import write_html
from nasbench_kd.report.leaderboard import LeaderboardRow, Overall
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.report.write import Report, write_latex, write_report

__all__ = [
    "Compared",
    "Difference",
    "LeaderboardRow",
    "Overall",
    "Report",
    "compare",
    "score_folder",
    "write_html",
    "write_latex",
    "write_report",
]
