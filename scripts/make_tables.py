"""Rebuild a paper table from the MLflow store, as the command `odkd-tables` does.

python scripts/make_tables.py houyon2023/table1_synthetic
"""

from odkd.report.tables.command import main

if __name__ == "__main__":
    main()
