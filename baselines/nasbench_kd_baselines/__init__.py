"""One search method in each file, behind the ask/tell protocol of nasbench_kd."""
