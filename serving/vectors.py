"""GET of feature vectors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from schemas import features
from serving.features import FeatureReader
from serving.problems import Problem, ProblemDocument
from serving.shapes import FeatureVector

Entity = Annotated[str, Path(examples=["card"], description="card or account")]
AsOf = Annotated[datetime | None, Query(description="A moment with time zone; now by default.")]


def router(reader: FeatureReader) -> APIRouter:
    """The route, over the reader."""
    routes = APIRouter(prefix="/v1/features", tags=["features"])

    @routes.get(
        "/{entity}/{id}",
        response_model=FeatureVector,
        responses={
            404: {"model": ProblemDocument, "description": "There is no such kind of entity."},
            422: {"model": ProblemDocument, "description": "The id is not a UUID."},
        },
    )
    async def read(
        entity: Entity, entity_id: Annotated[UUID, Path(alias="id")], as_of: AsOf = None
    ) -> FeatureVector:
        """The features of a card or an account at a moment, with how fresh they are."""
        if entity not in features.ENTITIES:
            raise Problem(
                404,
                "unknown-entity",
                "There are no such features",
                f"No features for {entity!r}; there are {', '.join(features.ENTITIES)}.",
            )
        moment = as_of or datetime.now(UTC)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        try:
            return await reader.read(entity, entity_id, moment)
        except Exception as error:
            raise Problem(
                503,
                "features-unreachable",
                "Features cannot be read",
                f"Neither Redis nor the database answers: {error}",
                {"Retry-After": "1"},
            ) from error

    return routes
