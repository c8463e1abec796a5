"""Learned vectors keyed by id, as fixed-size lists."""

import dataframely as dy


def user_embeddings(size: int, vector_size: int) -> type[dy.Schema]:
    """Users' raw embedding u and what a device transfers: MLP_user(u) and the user profile."""

    class UserEmbeddings(dy.Schema):
        user_id = dy.String(unique=True)
        embedding = dy.Array(dy.Float32(), size)
        vector = dy.Array(dy.Float32(), vector_size)

    return UserEmbeddings


def factor_users(size: int) -> type[dy.Schema]:
    """Users' embedding in a centrally trained domain and their rating bias, 0 if uncentred."""

    class FactorUsers(dy.Schema):
        user_id = dy.String(unique=True)
        embedding = dy.Array(dy.Float32(), size)
        bias = dy.Float32()

    return FactorUsers


def item_embeddings(size: int) -> type[dy.Schema]:
    """Items' common embedding, a row of V^c, and their rating bias."""

    class ItemEmbeddings(dy.Schema):
        item_id = dy.String(unique=True)
        embedding = dy.Array(dy.Float32(), size)
        bias = dy.Float32()

    return ItemEmbeddings


def mapped_users(size: int) -> type[dy.Schema]:
    """The vectors in the target domain that the mapping gives users of both domains."""

    class MappedUsers(dy.Schema):
        user_id = dy.String(unique=True)
        vector = dy.Array(dy.Float32(), size)

    return MappedUsers


def choice_items(size: int) -> type[dy.Schema]:
    """Items' vector of choice, a row of V, and how many users chose them."""

    class ChoiceItems(dy.Schema):
        item_id = dy.String(unique=True)
        vector = dy.Array(dy.Float32(), size)
        users = dy.UInt32()

    return ChoiceItems


def choice_tables(size: int) -> type[dy.Schema]:
    """What a target item's score multiplies a user's features with, one table after the other."""

    class ChoiceTables(dy.Schema):
        item_id = dy.String(unique=True)
        table = dy.Array(dy.Float32(), size)

    return ChoiceTables
