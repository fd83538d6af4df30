# SPDX-License-Identifier: BSD-3-Clause
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from serving import comes

from probewise_agent.__main__ import main
from probewise_agent.client import RemoteDriver
from probewise_agent.tokens import read_token, write_token

ROOT = Path(__file__).parents[2]


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    write_token(str(path))
    return str(path)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--bind", "0.0.0.0"], 2, "can be reached from other computers"),
        (["--bind", "nowhere"], 2, "nowhere"),
        (["--driver", "spectra9000"], 2, "--driver spectra9000 is unknown"),
        (["--driver", "no_such_module:open"], 2, "no_such_module"),
        (["--electrons", "1e9"], 2, "belong together"),
        (["--set", "fov_nm"], 2, "no NAME=VALUE"),
        (["--token-file", "nowhere"], 2, "nowhere"),
        (["--new-token"], 2, "exists"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_served(token_file, more, code, message, capsys, monkeypatch):
    monkeypatch.setattr("probewise_agent.__main__.take_precedence", lambda: True)
    arguments = ["--driver", "plain_driver:PlainDriver", "--token-file", token_file, "--port", "0", *more]
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert read_token(token_file).decode() not in said


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_it_serves_until_it_is_told_to_end(token_file):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["-m", "probewise_agent", "--driver", "plain_driver:PlainDriver", "--token-file", token_file]
    where = os.pathsep.join([str(ROOT / "agent"), str(ROOT / "tests")])
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        env={**os.environ, "PYTHONPATH": where},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert comes(lambda: answers(port), 30.0)
        client = RemoteDriver(("127.0.0.1", port), read_token(token_file))
        assert client.describe()["name"] == "plain"
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30.0)[1]
        client._end()
    assert process.returncode == 0
    assert read_token(token_file).decode() not in said


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
