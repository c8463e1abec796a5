"""MetaEM on Flower."""
