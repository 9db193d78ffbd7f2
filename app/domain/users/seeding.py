"""Believable users."""

from faker import Faker
from polyfactory.factories.msgspec_factory import MsgspecFactory

from app.lib.auth.tokens import Identity

_ID_LENGTH = 32  # what Better Auth makes: letters and digits


class IdentityFactory(MsgspecFactory[Identity]):
    """Users as their tokens name them."""

    __faker__ = Faker()
    roles = frozenset[str]()
    image = None

    @classmethod
    def id(cls) -> str:
        """An id of the form that Better Auth gives."""
        return cls.__faker__.pystr(_ID_LENGTH, _ID_LENGTH)

    @classmethod
    def name(cls) -> str:
        """A person's name."""
        return cls.__faker__.name()

    @classmethod
    def email(cls) -> str:
        """An address that nobody has."""
        return f"{cls.id().lower()}@example.com"
