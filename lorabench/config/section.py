"""What every table of a study file is made of."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.fields import FieldInfo


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{getattr(twice[0], 'name', twice[0])!r} is there twice")
    return values


Once = AfterValidator(_each_once)  # a second mention would be the same work, and the same rows, twice
# One value may stand for a list of one.
Alone = BeforeValidator(lambda value: ((value,) if value else ()) if isinstance(value, str) else value)

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # one that a folder can have


def kind_of(field: FieldInfo) -> Any:
    """The type of a key, with its bounds."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


class Section(BaseModel):
    """A table of the study file: frozen, and no key passes unread."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    later: ClassVar[tuple[str, ...]] = ()  # keys that came later: told, and hashed, where they say something

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, said: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in said(self).items() if key not in self.later or self._says(key, value)}

    def _says(self, key: str, value: Any) -> bool:
        return value not in ((), [], {}) and value != type(self).model_fields[key].default
