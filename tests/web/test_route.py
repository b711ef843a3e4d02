"""The route template, as routers of several ages leave it in the scope."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from costguard.web.route import route_template


class Route:
    endpoint = print

    def __init__(self, path: str) -> None:
        self.path = path


class Mount:
    def __init__(self, path: str, routes: list[Route]) -> None:
        self.path, self.routes = path, routes


def view() -> None: ...


MOUNTED = {"app_root_path": "", "root_path": "/teams/red"}


@pytest.mark.parametrize(
    ("scope", "template"),
    [
        ({"path": "/users/7"}, None),
        ({"path": "/users/7", "route": Route("/users/{id:int}")}, "/users/{id:int}"),
        ({"path": "/", "route": Route("")}, "/"),
        ({"path": "/api/users/7", "root_path": "/api", "route": Route("/users/{id}")}, "/users/{id}"),
        (
            {"path": "/teams/red/x", **MOUNTED, "route": Route("/{word}"), "path_params": {"team": "red", "word": "x"}},
            "/teams/{team}/{word}",
        ),
        # A parameter of the route with the value of a word of the mount is not its name.
        ({"path": "/v1/x", "app_root_path": "", "root_path": "/v1", "route": Route("/{word}"),
          "path_params": {"word": "v1"}}, "/v1/{word}"),
        # Values are compared as the convertor reads them.
        ({"path": "/t/007/x", "app_root_path": "", "root_path": "/t/007", "route": Route("/x"),
          "path_params": {"number": 7}}, "/t/{number}/x"),
        ({"path": "/x", **MOUNTED, "route": Mount("/teams/{team}", [Route("/x")])}, None),
        ({"path": "/x", **MOUNTED, "route": Mount("/teams/{team}", []), "path_params": {"team": "red"}},
         "/teams/{team}"),
        # Starlette before 1.0 leaves the endpoint only.
        ({"path": "/users/7/notes", "endpoint": view, "path_params": {"id": 7}}, "/users/{id}/notes"),
        ({"path": "/files/a/b", "endpoint": view, "path_params": {"file": "a/b"}}, "/files/{file}"),
        ({"path": f"/{UUID(int=10)}".upper(), "endpoint": view, "path_params": {"id": UUID(int=10)}}, "/{id}"),
        ({"path": "/mounted/any/thing", "endpoint": Mount("/mounted", []), "path_params": {}}, None),
    ],
)  # fmt: skip
def test_the_template_is_read_off_the_scope(scope: dict[str, Any], template: str | None) -> None:
    assert route_template(scope) == template
