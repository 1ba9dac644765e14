"""Train the model on the sales before June, and keep it beside model.py."""

import sys

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

sales = pd.read_csv(sys.argv[1]).query("sold_on < '2024-06-01'")
regions = OneHotEncoder(handle_unknown="ignore")
model = make_pipeline(
    make_column_transformer((regions, ["region"]), remainder="passthrough"),
    RandomForestRegressor(random_state=0),
)
model.fit(sales[["region", "area", "rooms"]], sales["price"])
joblib.dump(model, "src/ticket_model_evaluation/model.joblib")
print(f"trained on {len(sales)} sales")
