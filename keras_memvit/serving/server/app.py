"""The web application: paths, limits and the token."""

import asyncio
import hmac
import importlib.resources
import json
import time

from fastapi import FastAPI
from fastapi import Request
from fastapi import Response
from fastapi.responses import HTMLResponse
from fastapi.responses import JSONResponse

from keras_memvit.serving.server import open_inference
from keras_memvit.serving.server import tf_serving
from keras_memvit.serving.server import uploads
from keras_memvit.serving.server.errors import RequestError
from keras_memvit.serving.server.pictures import from_bytes
from keras_memvit.serving.server.service import ALL
from keras_memvit.tasks.resizing import by_resizing

PAGE = importlib.resources.files(__package__).joinpath("page.html")
_OPEN = ("/v2/health/live", "/v2/health/ready", "/")  # without a token


def make_app(service, metrics):
    """A FastAPI application.

    Args:
        service: a `Service`.
        metrics: a `Metrics`.
    """
    app = FastAPI(title="keras_memvit", docs_url=None, redoc_url=None)
    app.state.bank = service.tasks.bank
    settings = service.settings

    @app.middleware("http")
    async def every_request(request: Request, call_next):
        start = time.perf_counter()
        if settings.token and request.url.path not in _OPEN and not _allowed(request):
            response = _refusal(RequestError(401, "a bearer token is needed"))
        else:
            response = await call_next(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "none")
        metrics.requests.labels(path, response.status_code).inc()
        metrics.seconds.observe(time.perf_counter() - start)
        return response

    def _allowed(request):
        given = request.headers.get("authorization", "")
        want = f"Bearer {settings.token}"
        return hmac.compare_digest(given.encode(), want.encode())

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError):
        return _refusal(error)

    # === Health, metrics, the page ===
    @app.get("/v2/health/live")
    async def live():
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready():
        if not service.batcher.accepts:
            raise RequestError(503, "the server is stopping", retry_after=1)
        return {"ready": True}

    @app.get("/metrics")
    async def metrics_text():
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/")
    async def page():
        return HTMLResponse(PAGE.read_text())

    # === Answers of several tasks to one image ===
    @app.get("/tasks")
    async def tasks():
        return {"tasks": sorted(service.tasks.specs)}

    @app.post("/predict")
    async def predict(request: Request, tasks: str = ""):
        names = [name for name in tasks.split(",") if name]
        names = names or sorted(service.tasks.specs)[: settings.max_images]
        service.require(*names)
        image = await _body(request, settings)
        ways = by_resizing(map(service.spec, names))
        how = (service.image_shape, settings.max_pixels)
        (pixels,) = await service.decode(  # one image, however it is resized
            lambda value, what: [from_bytes(value, *how, what, way) for way in ways],
            [image],
        )
        found = await service.answer(pixels, list(ways.values()))
        row = {task: outputs for own in found for task, outputs in own.items()}
        return _json({task: _lists(row[task]) for task in names})

    @app.put("/tasks/{name}")
    async def put_task(name: str, request: Request):
        data = await _body(request, settings)
        return await asyncio.to_thread(uploads.put, service, name, data)

    @app.delete("/tasks/{name}")
    async def delete_task(name: str):
        return await asyncio.to_thread(uploads.delete, service, name)

    # === The Open Inference Protocol ===
    @app.get("/v2")
    async def server_metadata():
        return open_inference.server_metadata()

    @app.post("/v2/repository/index")
    async def repository():
        names = [ALL, *sorted(service.tasks.specs)]
        return [{"name": name, "version": "1", "state": "READY"} for name in names]

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/1")
    async def model_metadata(name: str):
        return open_inference.model_metadata(service, name)

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/1/ready")
    async def model_ready(name: str):
        open_inference.model_metadata(service, name)
        return {"name": name, "ready": True}

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/1/infer")
    async def infer(name: str, request: Request):
        body = await _json_body(request, settings)
        return _json(await open_inference.infer(service, name, body))

    # === TensorFlow Serving ===
    @app.post("/v1/models/{name}:predict")
    @app.post("/v1/models/{name}/versions/1:predict")
    async def tf_predict(name: str, request: Request):
        body = await _json_body(request, settings)
        return _json(await tf_serving.predict(service, name, body))

    @app.get("/v1/models/{name}/metadata")
    @app.get("/v1/models/{name}/versions/1/metadata")
    async def tf_metadata(name: str):
        return tf_serving.metadata(service, name)

    @app.get("/v1/models/{name}")
    @app.get("/v1/models/{name}/versions/1")
    async def tf_status(name: str):
        return tf_serving.status(service, name)

    return app


def _refusal(error):
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse({"error": error.reason}, error.status, headers)


def _lists(outputs):
    return {output: value.tolist() for output, value in outputs.items()}


def _json(answer):
    return Response(json.dumps(answer, allow_nan=False), media_type="application/json")


async def _body(request, settings):
    """A request's body, bounded in bytes and in time."""

    async def read():
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > settings.max_body:
                raise RequestError(
                    413, f"a body of at most {settings.max_body} bytes is taken"
                )
            parts.append(part)
        return b"".join(parts)

    try:
        return await asyncio.wait_for(read(), settings.timeout)
    except TimeoutError:
        raise RequestError(408, "the body came too slowly") from None


async def _json_body(request, settings):
    data = await _body(request, settings)
    try:
        body = await asyncio.to_thread(json.loads, data)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise RequestError(400, "the body must be a JSON object")
    return body
