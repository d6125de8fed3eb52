"""optuna-dashboard on this machine only, over a storage that is fast with many trials."""

from __future__ import annotations

import os
import warnings
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from akq_dist.search.storage import open_for_pages

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HOST: Final = "127.0.0.1"
_NAMES: Final = frozenset({"127.0.0.1", "localhost"})
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def main() -> None:
    """Serve the database that the environment names, until the process ends."""
    warnings.simplefilter("ignore")
    app = application(os.environ["AKQ_UI_STORAGE"])
    make_server(HOST, int(os.environ["AKQ_UI_PORT"]), app, _Server, _Handler).serve_forever()


def application(url: str) -> WSGIApplication:
    """Return optuna-dashboard for a database; requests for another host or from another page are refused."""
    import optuna_dashboard

    return only_local(optuna_dashboard.wsgi(open_for_pages(url)))


def only_local(app: WSGIApplication) -> WSGIApplication:
    """Refuse requests that a foreign page sends through the browser: the pages have no password.

    A name that resolves to this machine is refused as well, unless it is the machine's own.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
        origin = environ.get("HTTP_ORIGIN")
        is_foreign = origin is not None and urlsplit(origin).netloc != environ.get("HTTP_HOST")
        if host not in _NAMES or (is_foreign and environ["REQUEST_METHOD"] not in _READS):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This page is served to this machine only.\n"]
        return app(environ, start_response)

    return guarded


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a connection: browsers open some that they never use."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        """Say nothing of requests that went well."""
