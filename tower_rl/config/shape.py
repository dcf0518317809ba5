"""Reads the shape of the schema: fields, unions and their tags. Used by the error messages and by the documentation."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Tag

from tower_rl.config.schema import Config, Section
from tower_rl.config.tree import KeyPath


def bare(annotation: Any) -> Any:
    """The annotation without the metadata around it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def members(annotation: Any) -> list[Any]:
    """Members of a union, without None; of anything else, itself."""
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return [member for member in get_args(annotation) if member is not NoneType]
    return [annotation]


def tagged(annotation: Any) -> dict[str, type[Section]]:
    """Tag -> section of a tagged union; empty for anything else."""
    found = members(annotation)
    if len(found) < 2:
        return {}
    return {_tag(member): bare(member) for member in found}


def _tag(member: Any) -> str:
    tags = [extra.tag for extra in get_args(member)[1:] if isinstance(extra, Tag)]
    return tags[0] if tags else get_args(member.model_fields["kind"].annotation)[0]


def step(annotation: Any, key: str | int) -> Any:
    """The annotation of what stands at `key`, None where the schema has no such key."""
    annotation = members(annotation)[0]
    if is_section(annotation):
        field = annotation.model_fields.get(key)
        return field.annotation if field else None
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    return arguments[-1] if arguments and get_origin(annotation) is not Literal else None


def locate(location: tuple[str | int, ...]) -> tuple[KeyPath, type[Section] | None]:
    """Key path of a pydantic location, which also holds the tags of unions, and the section that holds its last key."""
    path: list[str | int] = []
    here: Any = Config
    holder = None
    for part in location:
        if part == "[key]":  # pydantic's mark that the key before it is at fault
            continue
        tags = tagged(here)
        if tags:
            here = tags[str(part)]
            continue
        path.append(part)
        own = members(here)[0]
        holder = own if is_section(own) else None
        here = step(here, part)
    return tuple(path), holder


def kinds(location: tuple[str | int, ...]) -> list[str]:
    """Tags of the union that stands at a pydantic location."""
    here: Any = Config
    for part in location:
        here = tagged(here).get(str(part)) or step(here, part)
    return list(tagged(here))
