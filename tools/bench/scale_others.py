"""The metrics of all rows of a log, by another library: `scale_others.py LIBRARY LOG`.

LIBRARY is polars, with its streaming engine, or duckdb. Prints JSON as scale_trial.py does.
"""

import json
import sys
import time

library, log = sys.argv[1:]
FORMAT = "%d/%m/%Y %H:%M"
HOURS = {"1 - Critical": 6.0, "2 - High": 24.0, "3 - Moderate": 120.0, "4 - Low": 240.0}


def with_polars():
    import polars as pl

    rows = pl.scan_csv(log, null_values=["?"], infer_schema=False)
    updated, closed = (
        pl.col(each).str.to_datetime(FORMAT) for each in ("sys_updated_at", "closed_at")
    )
    hours = pl.col("priority").replace_strict(HOURS, default=180.0, return_dtype=pl.Float64)
    rows = rows.select(
        actual=(closed - updated).dt.total_seconds().cast(pl.Float64), predicted=hours * 3600.0
    )
    error = pl.col("actual") - pl.col("predicted")
    found = rows.select(
        rows=pl.len(),
        MAE=error.abs().mean(),
        MedAE=error.abs().median(),
        MSE=(error**2).mean(),
        R2=1 - (error**2).mean() / pl.col("actual").var(ddof=0),
    )
    return found.collect(engine="streaming").row(0, named=True)


def with_duckdb():
    import duckdb

    updated, closed = (f"strptime({each}, '{FORMAT}')" for each in ("sys_updated_at", "closed_at"))
    cases = " ".join(f"WHEN '{name}' THEN {hours}" for name, hours in HOURS.items())
    query = f"""
    WITH pairs AS (
      SELECT date_diff('second', {updated}, {closed})::DOUBLE AS actual,
        3600.0 * CASE priority {cases} ELSE 180.0 END AS predicted
      FROM read_csv('{log}', all_varchar=true, nullstr='?')
    )
    SELECT count(*) AS rows, avg(abs(actual - predicted)) AS MAE,
      median(abs(actual - predicted)) AS MedAE, avg((actual - predicted)**2) AS MSE,
      1 - avg((actual - predicted)**2) / var_pop(actual) AS R2
    FROM pairs
    """
    found = duckdb.sql(query)
    return dict(zip(found.columns, found.fetchall()[0], strict=True))


work = {"polars": with_polars, "duckdb": with_duckdb}[library]
start = time.perf_counter()
metrics = work()
seconds = {"rows": time.perf_counter() - start}
print(json.dumps({"seconds": seconds, "rows": metrics.pop("rows"), "metrics": metrics}))
