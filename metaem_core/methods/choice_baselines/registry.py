"""The baselines of lists by the name that tables give them."""

from collections.abc import Callable

from metaem_core.config.choice import ChoiceBaselinesConfig
from metaem_core.data.choices import ChoicePair, Scores
from metaem_core.methods.choice_baselines.blend import blend
from metaem_core.methods.choice_baselines.ease import ease
from metaem_core.methods.choice_baselines.emcdr_ials import emcdr_ials
from metaem_core.methods.choice_baselines.ials import ials
from metaem_core.methods.choice_baselines.item_knn import item_knn
from metaem_core.methods.choice_baselines.popularity import popularity
from metaem_core.methods.choice_baselines.user_knn import user_knn

Fit = Callable[[ChoicePair, ChoiceBaselinesConfig], Scores]

CHOICE_BASELINES: dict[str, Fit] = {
    "popularity": lambda pair, _: popularity(pair),
    "choice_user_knn": lambda pair, config: user_knn(pair, config.user_knn),
    "choice_item_knn": lambda pair, config: item_knn(pair, config.item_knn),
    "ease": lambda pair, config: ease(pair, config.ease),
    "ials": lambda pair, config: ials(pair, config.ials),
    "emcdr_ials": lambda pair, config: emcdr_ials(pair, config.emcdr_ials),
    "choice_blend": lambda pair, config: blend(pair, config.emcdr_ials, config.blend),
}
