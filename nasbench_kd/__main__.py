"""`python -m nasbench_kd`: the command line where its script is not on the path."""

from nasbench_kd.cli import app

if __name__ == "__main__":
    app(prog_name="nasbench-kd")
