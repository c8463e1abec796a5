"""A recommender as MLflow loads it from its registry: code and safetensors, nothing pickled.

MLflow runs this file; what it imports lies beside it in the model.
"""

from pathlib import Path
from typing import cast

import pandas as pd  # type: ignore[import-untyped]  # comes with mlflow
import polars as pl
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from tasks.recommend.artifact import open_recommender
from tasks.recommend.histories import HISTORY, Histories
from tasks.recommend.top_n import Order, recommend
from tasks.store.artifacts import Store

STORE = "store"  # the model's artifact: a store of one recommender


class RegisteredRecommender(PythonModel):
    """``predict`` gives what ``metaem recommend --history`` gives."""

    def load_context(self, context: PythonModelContext) -> None:
        """Verify and read the recommender."""
        store = Store(Path(context.artifacts[STORE]))
        (ref,) = store.refs()
        self.model = open_recommender(store, ref)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,
    ) -> pd.DataFrame:
        """Recommendations to the users of a frame of user_id, item_id and, where known, rating.

        Args:
            params: ``top``, the number of items for each user, ``why``, whether to name reasons,
                and ``by``, "choice" or "stars", what orders the lists.
        """
        options = {"top": 10, "why": False, "by": "choice", **(params or {})}
        given = {name: model_input[name].to_numpy() for name in HISTORY if name in model_input}
        ratings = pl.DataFrame({**dict.fromkeys(HISTORY), **given}, HISTORY)
        histories = Histories(ratings, seen=pl.DataFrame(schema=HISTORY))
        top, why, by = cast(int, options["top"]), bool(options["why"]), cast(Order, options["by"])
        return recommend(self.model, histories, top, why, by).to_pandas()


set_model(RegisteredRecommender())
