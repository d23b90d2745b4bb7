"""Clients that are slow to send, and models that are slow to answer."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import mamlax
from mamlax.config._serving import Serving
from mamlax.serve import _workers
from mamlax.serve._app import app_of

from .conftest import running

SECONDS = 0.5
HEAD = b"POST /models/wear/predict HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"


@pytest.fixture(scope="module")
def port(regressor):
    settings = {"seconds_to_send": SECONDS}
    with running(app_of({"wear": regressor}, Serving(**settings)), **settings) as client:
        yield client.base_url.port


@pytest.fixture
def connection(port):
    with socket.create_connection(("localhost", port), timeout=20) as found:
        yield found


def rest_of(connection):
    """All that comes until the service ends the connection; how many seconds that took."""
    start, parts = time.monotonic(), []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts), time.monotonic() - start


@pytest.mark.parametrize("sent", [HEAD, HEAD[:3]])
def test_half_of_a_head_is_refused(connection, sent):
    connection.sendall(sent)
    found, seconds = rest_of(connection)
    head, content = found.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ") and b"nosniff" in head
    assert "not sent within 0.5 seconds" in json.loads(content)["error"]
    assert SECONDS / 2 < seconds < 10


def test_a_head_that_comes_byte_by_byte_is_refused(connection):
    """Each byte does not begin the time anew, also not on a connection that was used before."""
    connection.sendall(b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    until = time.monotonic() + 20
    try:
        for i in range(10_000):
            assert time.monotonic() < until, "it is still taken"
            connection.sendall(HEAD[i : i + 1] or b"x")
            time.sleep(SECONDS / 5)
    except OSError:
        pass


def test_who_sends_nothing_is_let_go(connection):
    assert rest_of(connection)[0] == b""


def test_half_of_a_body_is_refused_in_a_sentence(connection):
    connection.sendall(HEAD + BODY)
    found = connection.recv(65_536)
    assert found.startswith(b"HTTP/1.1 408 ") and b"not sent within 0.5 seconds" in found


def test_a_body_that_nobody_reads_does_not_hold_a_connection(connection, monkeypatch):
    monkeypatch.setattr("mamlax.serve._connections._GRACE_SECONDS", 0.1)
    connection.sendall(HEAD.replace(b"wear/predict", b"wear") + BODY)
    found, seconds = rest_of(connection)
    assert found.startswith(b"HTTP/1.1 405 ") and seconds < 10


def test_what_is_no_http_is_refused_as_all_else(connection):
    connection.sendall(b"\0\0\0\r\n\r\n")
    head, content = rest_of(connection)[0].split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"nosniff" in head
    assert "Invalid HTTP" in json.loads(content)["error"]


def test_a_client_waits_for_its_answer_no_longer_than_it_may(regressor, monkeypatch):
    """The threads stay taken, and what waits for one when its time is up is never begun."""
    monkeypatch.setattr(_workers, "num_cores", lambda: 2)
    going, begun, own = threading.Event(), [], mamlax.FewShotRegressor._adapted_to

    def slow(*arguments):
        begun.append(arguments)
        assert going.wait(60)
        return own(*arguments)

    body = {"rows": [[9.0, "wet"]], "targets": [3.0]}
    app = app_of({"wear": regressor}, Serving(seconds_to_compute=SECONDS))
    with running(app) as client, monkeypatch.context() as changed:
        changed.setattr(mamlax.FewShotRegressor, "_adapted_to", slow)
        with ThreadPoolExecutor(4) as asking:
            answers = list(
                asking.map(lambda _: client.post("/models/wear/adapt", json=body), range(4))
            )
        assert [one.status_code for one in answers] == [503] * 4
        assert "no answer within 0.5 seconds" in answers[0].json()["error"]
        assert client.get("/models").status_code == 200, "the others go on"
        assert len(begun) == 2
        going.set()
        until = time.monotonic() + 60
        answer = httpx.Response(503)
        while answer.status_code == 503 and time.monotonic() < until:
            answer = client.post("/models/wear/adapt", json=body)
        assert answer.status_code == 200
        assert len(app.state.adapted) == 1, "nothing is kept of those that nobody got"
