"""The page's server: on this machine alone, for those who have the link."""

import base64
import hmac
import importlib
import secrets
import shlex
import signal
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import uvicorn
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bpg.data.colours import BACKGROUND_COLOUR, bright_colours
from bpg.data.frames import small_copy
from bpg.data.strokes import Pixels, Stroke, covered
from bpg.draw.answers import Answers
from bpg.draw.editing import outline
from bpg.draw.store import MOST_POINTS, Change, MergeError, Store
from bpg.draw.training import Training
from bpg.errors import BPGError
from bpg.opencv import cv2
from bpg.strict_yaml import first_error

HOST = "127.0.0.1"
_BODY_LIMIT = 4 * 2**20  # bytes of a request
_SESSION = "X-Session"
PASSES, EPOCHS = 2000, 200
"""What the page proposes: epochs so that the network sees this many images, 200 steps of 10; fewer
than 10 images are a step's, so that more epochs would be more steps."""
_THUMBNAILS = 2000  # that are kept in memory, some 7 kB each
_PER_SECOND = 2.5  # images that two CPU cores train on (docs/own_images.md)
_BESIDE = 120  # seconds that edge maps and testing take beside
_QUALITY = 92  # of the images' JPEG
_THUMBNAIL = 176  # pixels, the longer side
_WIDEST = 200.0  # pixels of a brush or eraser
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
# Nothing from elsewhere, and in no other page's frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_Points = Annotated[
    list[tuple[FiniteFloat, FiniteFloat]], Field(min_length=1, max_length=MOST_POINTS)
]
_Width = Annotated[float, Field(ge=1, le=_WIDEST)]


class _Add(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["add"]
    tag: str
    points: _Points
    brush: _Width | None = None


class _Erase(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["erase"]
    points: _Points
    brush: _Width


class _Undo(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["undo"]
    added: list[int]
    removed: list[int]


class _Clear(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["clear"]


class _Start(BaseModel):
    model_config = ConfigDict(extra="forbid")
    action: Literal["start"]
    epochs: Annotated[int, Field(ge=1, le=100_000)]


class _Else(BaseModel):
    model_config = ConfigDict(extra="forbid")
    action: Literal["stop", "export"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    by: Literal["forest", "network"]


class _AddClass(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["add"]
    name: str


class _RenameClass(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["rename"]
    name: str
    to: str
    merge: bool = False


class _RemoveClass(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["remove"]
    name: str


_EDITS: TypeAdapter[_Add | _Erase | _Clear | _Undo] = TypeAdapter(
    Annotated[_Add | _Erase | _Clear | _Undo, Field(discriminator="kind")]
)
_CLASSES: TypeAdapter[_AddClass | _RenameClass | _RemoveClass] = TypeAdapter(
    Annotated[_AddClass | _RenameClass | _RemoveClass, Field(discriminator="kind")]
)
_TRAIN: TypeAdapter[_Start | _Else] = TypeAdapter(
    Annotated[_Start | _Else, Field(discriminator="action")]
)


def make_app(
    store: Store,
    answers: Answers,
    training: Training | None,
    token: str,
    port: int,
    once: str | None = None,
    given: Path | None = None,
) -> Starlette:
    """Return the application.

    Args:
        store: The strokes.
        answers: What a model makes of them.
        training: For trainings from the page; None where there is no checkout.
        token: Whoever has it may use the page.
        port: It is served on.
        once: Another one, for a single use.
        given: The network that the page was started with.
    """
    app = Starlette(
        routes=[
            Route("/", _page("html")),
            Route("/draw.css", _page("css")),
            Route("/draw.js", _page("js")),
            Route("/api/folder", _folder),
            Route("/api/classes", _edit_classes, methods=["POST"]),
            Route("/api/strokes/{index:int}", _strokes),
            Route("/api/strokes/{index:int}", _edit, methods=["POST"]),
            Route("/api/answer/{index:int}", _answer),
            Route("/api/score/{index:int}", _score),
            Route("/api/model", _choose_model, methods=["POST"]),
            Route("/api/next", _next),
            Route("/api/train", _progress),
            Route("/api/train", _train, methods=["POST"]),
            Route("/image/{index:int}", _image),
            Route("/thumbnail/{index:int}", _thumbnail),
        ],
        middleware=[Middleware(_Guard, token=token, port=port, once=once)],
        exception_handlers={
            MergeError: _merges,
            BPGError: _refused,
            ValidationError: _refused,
            OSError: _failed,
            Exception: _broken,
        },
    )
    app.state.store, app.state.answers, app.state.training = store, answers, training
    app.state.given = given
    app.state.session = secrets.token_hex(8)
    app.state.thumbnails = {}
    return app


class _Guard(BaseHTTPMiddleware):
    """Let in who has the token and asks this machine by its own name."""

    def __init__(self, app: Any, token: str, port: int, once: str | None):
        super().__init__(app)
        self.token, self.port, self.once, self.spent = token, port, once, False
        self.cookie = f"bpg-draw-{port}"  # browsers share cookies between ports
        self.hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.query_params.get("token", "")
        if request.url.path == "/" and self._is_from_here(request) and self._opens(given):
            response: Response = RedirectResponse("/", 303)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
        else:
            response = self._refusal(request) or await call_next(request)
        response.headers.update(_HEADERS)
        return response

    def _is_from_here(self, request: Request) -> bool:
        # Another site's page can make a browser ask here, by a name that leads here.
        pages = {None, *(f"http://{host}" for host in self.hosts)}
        return request.headers.get("host") in self.hosts and request.headers.get("origin") in pages

    def _refusal(self, request: Request) -> Response | None:
        if not self._is_from_here(request):
            return _said("this server is for its own page on this machine alone", 403)
        if not self._fits(request.cookies.get(self.cookie, "")):
            return _said("open the link that bpg draw printed", 403)
        if request.method == "POST":
            if request.headers.get("content-type") != "application/json":
                return _said("not JSON", 415)
            length = request.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _BODY_LIMIT:
                return _said("too long", 413)
            # A page that was left open knows the strokes by the numbers of another process.
            if request.headers.get(_SESSION) != request.app.state.session:
                return _said("bpg draw has been restarted: reload this page", 409)
        return None

    def _opens(self, given: str) -> bool:
        if self.once is None or not hmac.compare_digest(given.encode(), self.once.encode()):
            return self._fits(given)
        if not self.spent:
            self.spent = True
            return True
        # Who came first may not have been the user's browser.
        self.token = secrets.token_urlsafe(16)
        link = f"http://{HOST}:{self.port}/?token={self.token}"
        print(
            f"The browser's link was used twice, so all pages are shut. A new one:\n{link}",
            flush=True,
        )
        return False

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _said(text: str, status: int) -> Response:
    return JSONResponse({"error": text}, status)


def _refused(request: Request, error: Exception) -> Response:
    text = first_error(error) if isinstance(error, ValidationError) else str(error)
    return _said(text, 400)


def _merges(request: Request, error: Exception) -> Response:
    assert isinstance(error, MergeError)
    return JSONResponse({"error": str(error), "merges": error.other}, 409)


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return _said(f"not saved: {error.filename or 'a file'}: {error.strerror or error}", 507)


def _broken(request: Request, error: Exception) -> Response:
    return _said(f"a fault of bpg draw, please report it: {type(error).__name__}: {error}", 500)


def _page(kind: str) -> Callable[[Request], Awaitable[Response]]:
    text = files("bpg.draw").joinpath(f"draw.{kind}").read_text(encoding="utf-8")

    async def answer(request: Request) -> Response:
        return Response(text, media_type=_TYPES[kind])

    return answer


def _store(request: Request) -> Store:
    return request.app.state.store


def _name(request: Request) -> str:
    names, index = _store(request).names, request.path_params["index"]
    if index >= len(names):
        raise BPGError(f"there is no image {index}")
    return names[index]


async def _folder(request: Request) -> Response:
    store = _store(request)
    images = [
        {
            "name": name,
            "width": store.size(name)[0],
            "height": store.size(name)[1],
            "strokes": len(store.sheets[name].strokes),
        }
        for name in store.names
    ]
    return JSONResponse(
        {
            "session": request.app.state.session,
            "folder": str(store.root),
            "argument": _argument(store.root),
            "problems": store.problems,
            "files": str(store.place.relative_to(store.root)),
            "classes": store.classes,
            "colours": _colours(len(store.classes)),
            "counts": store.counts(),
            "images": images,
            "by": "forest" if request.app.state.answers.model is None else "network",
            "given": request.app.state.given is not None,
            "trains": request.app.state.training is not None,
            "passes": PASSES,
            "most_epochs": EPOCHS,
            "images_per_second": _PER_SECOND,
            "seconds_beside": _BESIDE,
        }
    )


async def _edit_classes(request: Request) -> Response:
    store = _store(request)
    match _CLASSES.validate_json(await request.body()):
        case _AddClass(name=name):
            await run_in_threadpool(store.add_class, name)
        case _RenameClass(name=name, to=to, merge=merge):
            await run_in_threadpool(partial(store.rename_class, name, to, merge=merge))
        case _RemoveClass(name=name):
            await run_in_threadpool(store.remove_class, name)
    return await _folder(request)


async def _image(request: Request) -> Response:
    photo = _store(request).folder.photos[_name(request)]
    data = await run_in_threadpool(lambda: _jpeg(photo.read()))
    return Response(data, media_type="image/jpeg")


async def _thumbnail(request: Request) -> Response:
    name, made = _name(request), request.app.state.thumbnails
    photo = _store(request).folder.photos[name]
    if name not in made:
        data = await run_in_threadpool(lambda: _jpeg(small_copy(photo.read(), _THUMBNAIL)))
        while len(made) >= _THUMBNAILS:  # the oldest one
            made.pop(next(iter(made)))
        made[name] = data
    return Response(made[name], media_type="image/jpeg")


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return data.tobytes()


def _colours(number: int) -> list[str]:
    """Return the classes' colours, "#rrggbb"; background, black in a palette, is grey here."""
    return [BACKGROUND_COLOUR, *bright_colours(number)[1:]]


async def _strokes(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(_sheet, _store(request), _name(request)))


async def _edit(request: Request) -> Response:
    store, name = _store(request), _name(request)
    edit = _EDITS.validate_json(await request.body())

    def done() -> dict[str, Any]:
        match edit:
            case _Add():
                change = store.add(name, edit.tag, edit.points, edit.brush)
            case _Erase():
                change = store.erase(name, edit.points, edit.brush)
            case _Clear():
                change = store.clear(name)
            case _Undo():
                change = store.undo(name, Change(tuple(edit.added), tuple(edit.removed)))
        return {**_sheet(store, name), "added": change.added, "removed": change.removed}

    return JSONResponse(await run_in_threadpool(done))


def _sheet(store: Store, name: str) -> dict[str, Any]:
    sheet = store.sheets[name]
    size = store.size(name)
    return {
        "revision": sheet.revision,
        "classes": store.classes,
        "counts": store.counts(),
        "locked": [_stroke(stroke, size) for stroke in sheet.locked],
        "own": [{"id": n, **_stroke(stroke, size)} for n, stroke in sheet.own.items()],
    }


def _stroke(stroke: Stroke, size: tuple[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"tag": stroke.tag, "lines": outline(stroke.shape)}
    if isinstance(stroke.shape, Pixels):
        pixels = covered(stroke.shape, *size, 1)
        found |= {"left": pixels.left, "top": pixels.top, "mask": _png(pixels.mask)}
    return found


def _png(mask: np.ndarray) -> str:
    """Return painted pixels as a data URI: white, and transparent where there is nothing."""
    if not mask.size:
        return ""
    white = np.repeat(255 * mask.astype(np.uint8)[..., None], 4, axis=2)
    return _uri(white)


def _uri(pixels: np.ndarray) -> str:
    _, data = cv2.imencode(".png", pixels)
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"


async def _answer(request: Request) -> Response:
    answers, name = request.app.state.answers, _name(request)

    def made() -> dict[str, Any]:
        found = answers.answer(name)
        # BGR and opacity; the photograph is seen as it is where there is background.
        shown = _colours(len(found.classes))
        colours = np.array([[*bytes.fromhex(c[5:7] + c[3:5] + c[1:3]), 255] for c in shown])
        colours[0, 3] = 0
        return {
            "labels": _uri(colours.astype(np.uint8)[found.labels]),
            "by": found.by,
            "seconds": round(found.seconds, 2),
        }

    return JSONResponse(await run_in_threadpool(made))


async def _score(request: Request) -> Response:
    found = await run_in_threadpool(request.app.state.answers.score, _name(request))
    return JSONResponse(asdict(found))


async def _choose_model(request: Request) -> Response:
    """Answer with the forest, or the network that was trained here, or else the one given."""
    state = request.app.state
    given = _Model.model_validate_json(await request.body())
    if given.by == "forest":
        await run_in_threadpool(state.answers.use_forest)
    else:
        trained = state.training is not None and state.training.training.is_done()
        path = state.training.model if trained else state.given
        if path is None:
            raise BPGError("no network was trained on these strokes from here; train first")
        await run_in_threadpool(state.answers.use, path)
    return JSONResponse({"by": given.by})


async def _next(request: Request) -> Response:
    store = _store(request)
    found = await run_in_threadpool(request.app.state.answers.next)
    return JSONResponse(
        [
            {
                "index": store.names.index(one.name),
                "uncertainty": round(100 * one.uncertainty, 1),
                "regions": [
                    {
                        "left": region.left,
                        "top": region.top,
                        "width": region.width,
                        "height": region.height,
                        "likely": [one.classes[label] for label in region.labels],
                    }
                    for region in one.regions
                ],
            }
            for one in found
        ]
    )


async def _progress(request: Request) -> Response:
    training = _training(request)

    def found() -> dict[str, Any]:
        scores, export = training.scores(), training.export.progress()
        return asdict(training.training.progress()) | {
            "trained": training.training.is_done(),
            "score": None if scores is None or scores.miou is None else round(scores.miou, 1),
            "measured_on": scores and scores.measured_on,
            "export": {
                "running": export.running,
                "status": export.status,
                "last": export.said.strip().rpartition("\n")[2],
                "file": _shown(training.exported) if training.export.is_done() else None,
            },
        }

    return JSONResponse(await run_in_threadpool(found))


def _argument(path: Path) -> str:
    """Return a path as it can be typed into a shell."""
    shown = _shown(path)
    plain = shown.removeprefix("~/")
    return shown if shlex.quote(plain) == plain else shlex.quote(str(path))


def _shown(path: Path) -> str:
    """Return a path as people write it."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


async def _train(request: Request) -> Response:
    training = _training(request)
    match _TRAIN.validate_json(await request.body()):
        case _Start(epochs=epochs):
            await run_in_threadpool(training.start, epochs)
        case _Else(action="stop"):
            await run_in_threadpool(training.training.stop)
        case _Else(action="export"):
            await run_in_threadpool(training.start_export)
    return await _progress(request)


def _training(request: Request) -> Training:
    training = request.app.state.training
    if training is None:
        raise BPGError("there is no checkout of BPG here; start bpg draw in one")
    return training


def serve(root: Path, model: Path | None, port: int, *, show: bool) -> None:
    """Serve the page until it is interrupted.

    Args:
        root: The folder of images.
        model: A trained network for the answer; None: a forest.
        port: 0 takes a free one.
        show: Whether to open the page in the user's browser.

    Raises:
        BPGError: The folder or the model cannot be used, or the port is taken.
    """
    store = Store(root)
    try:
        answers = Answers(store, model)
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # before the link is shown: it works from the first moment
        except OSError as error:
            raise BPGError(f"port {port}: {error.strerror}; give another by --port") from error
        port = listening.getsockname()[1]
        token, once = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        link = f"http://{HOST}:{port}/?token="
        for problem in store.problems:
            print(f"error: {problem}")
        # Where the commands of the documentation can be run.
        here = Path.cwd()
        trains = (here / "dvc.yaml").is_file() and (here / "pipeline" / "choose.py").is_file()
        training = Training(here, store.root, here / "unfinished") if trains else None
        app = make_app(store, answers, training, token, port, once if show else None, model)
        # Without a lifespan, which the app does not use: a second Ctrl-C would break it off.
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        # Before the link is shown: Python's own handler raises KeyboardInterrupt wherever the
        # program is, and an import may swallow it.
        ways = (signal.SIGINT, signal.SIGTERM)
        before = {way: signal.signal(way, server.handle_exit) for way in ways}
        try:
            print(
                f"{len(store.names)} images. Draw here, and end with Ctrl-C:\n{link}{token}",
                flush=True,
            )
            if show:
                # All users of the machine see what a browser is started with. Python waits for
                # the end of some.
                threading.Thread(
                    target=webbrowser.open, args=[f"{link}{once}"], daemon=True
                ).start()
            # It takes seconds to load, and the first answer should not wait for it.
            threading.Thread(
                target=importlib.import_module, args=["bpg.forest.fit"], daemon=True
            ).start()
            server.run([listening])
        finally:
            for way, handler in before.items():
                signal.signal(way, handler)
            running = training and training.running()
            if running:
                print(f"the {running} is still running; bpg draw shows it again")
    finally:
        store.close()
