"""Errors for people: what failed, without numbers, brackets and classes of Python."""

import errno
import socket
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from ddpm.errors import one_line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), "the server's name cannot be looked up: is this"),
        (URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")), "Connection refused"),
        (URLError("no host given"), "no host given"),
        (URLError(TimeoutError("timed out")), "timed out"),
        (TimeoutError(), "no answer in time"),
        (HTTPError("http://x/y", 404, "Not Found", None, None), "the server answered 404 Not Found"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), "a/b: No such file or directory"),
        (OSError("the file is not whole"), "the file is not whole"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_is_a_sentence_for_people(error, said):
    assert one_line(error).startswith(said)
    assert "[" not in one_line(error)
    assert "rrno" not in one_line(error)


def test_what_the_network_of_this_machine_says_is_worded_too():
    for url in ("http://no-such-host.invalid/", "http://127.0.0.1:9/", Path("/no/such/file").as_uri()):
        with pytest.raises(URLError) as caught:
            urllib.request.urlopen(url, timeout=5)
        assert "rrno" not in one_line(caught.value)
