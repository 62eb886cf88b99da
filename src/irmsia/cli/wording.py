"""Values that the command line does not take, told in plain words rather than those of the library that checks them."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class PlainGroup(TyperGroup):
    """The commands; an option's value that does not fit is said in own words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = plain_words(error)
            raise


def plain_words(error: typer.BadParameter) -> str:
    """What is wrong with a value: the first fault that pydantic found, or the message as it stands without one."""
    cause = error.__cause__
    if cause is None or not hasattr(cause, "errors"):
        return error.message
    fault = cause.errors(include_url=False)[0]
    limits = fault.get("ctx", {})
    said = {
        "float_parsing": "not a number",
        "int_parsing": "not a whole number",
        "int_from_float": "not a whole number",
        "bool_parsing": "neither true nor false",
        "greater_than": f"must be above {limits.get('gt')}",
        "greater_than_equal": f"must be at least {limits.get('ge')}",
        "less_than": f"must be below {limits.get('lt')}",
        "less_than_equal": f"must be at most {limits.get('le')}",
    }
    return said.get(fault["type"], error.message.removeprefix("Value error, "))
