"""What the three Amazon releases have in common."""

from tasks.sources.base import Columns

# equal in the 2014, 2018 and 2023 releases
CATEGORIES = {"movie": "Movies_and_TV", "music": "CDs_and_Vinyl", "book": "Books"}

REVIEW_COLUMNS = Columns("reviewerID", "asin", "overall", "unixReviewTime")


def category(domain: str) -> str:
    """The category whose file holds ``domain``."""
    if domain not in CATEGORIES:
        raise ValueError(f"no amazon category for domain {domain!r}: use one of {[*CATEGORIES]}")
    return CATEGORIES[domain]
