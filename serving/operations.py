"""Health and metrics, for whoever runs the gateway."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.health import FAIL, Checks
from serving.shapes import Health


def router(checks: Checks) -> APIRouter:
    """The routes, over the checks."""
    routes = APIRouter(tags=["operations"])

    @routes.get(
        "/health",
        response_model=Health,
        responses={503: {"model": Health, "description": "Something that is needed is down."}},
    )
    async def health(response: Response) -> Health:
        """Each part: pass, warn or fail. 503 when one fails."""
        found = await checks.all()
        response.status_code = 503 if found.status == FAIL else 200
        return found

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters and latencies for Prometheus."""
        checks.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return routes
