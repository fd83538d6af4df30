# SPDX-License-Identifier: BSD-3-Clause
"""What a hostile or broken client can send; in each case the driver gets nothing of it and the beam ends off."""

import contextlib
import json
import socket
import struct
import time

import numpy as np
import pytest
from serving import CONTEXT, RASTER, TOKEN, comes, connected, leased, lit, serving

from plain_driver import PlainDriver
from probewise_agent import messages
from probewise_agent.client import RemoteDriver
from probewise_agent.driver import DriverError
from probewise_agent.messages import ConnectionLost, MessageError, Stream

PREFIX = messages.PREFIX


def raw(kind, fence=0, text=b"", body=b"", magic=b"PW", version=messages.VERSION, text_bytes=None, body_bytes=None):
    text_bytes = len(text) if text_bytes is None else text_bytes
    body_bytes = len(body) if body_bytes is None else body_bytes
    return PREFIX.pack(magic, version, kind, 9, fence, text_bytes, body_bytes) + text + body


def arm(**changes):
    return json.dumps({"scan": {**RASTER, **changes}, "context": CONTEXT, "channels": ["BF"]}).encode()


def is_cut(stream):
    stream.socket.settimeout(5.0)
    try:
        return stream.receive() is None
    except ConnectionLost:
        return True
    finally:
        stream.close()


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n" + b"x" * 64,
        b"POST /blank HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n{\"on\": false}" + b"x" * 64,
        b"C" + bytes(64),
        b"X" * 65,
        b"\xff" * 100_000,
    ],
    ids=["nothing", "http", "form post", "zeros", "role", "flood"],
)  # fmt: skip
def test_who_does_not_know_the_token_learns_and_does_nothing(first):
    with serving() as (where, driver, _):
        before = len(driver.commands)
        with socket.create_connection(where, 5.0) as sock:
            greeting = messages.exactly(sock, len(messages.GREETING) + messages.NONCE_BYTES)
            assert TOKEN not in greeting
            with pytest.raises((OSError, ConnectionLost)):  # noqa: PT012  it may be cut while this sends or after
                sock.sendall(first)
                if not first:
                    sock.shutdown(socket.SHUT_WR)
                answer = messages.exactly(sock, messages.PROOF)
                assert answer == bytes(messages.PROOF)
                messages.exactly(sock, 1)
        assert len(driver.commands) == before


@pytest.mark.parametrize("token", [b"x" * 32, TOKEN[:-1], TOKEN + b"0", TOKEN.upper()])
def test_another_token_is_refused_with_one_message(token):
    with serving() as (where, _, _), pytest.raises(DriverError, match="refused the token") as caught:
        RemoteDriver(where, token)
    assert token.decode() not in str(caught.value)


def test_an_answer_that_was_overheard_is_of_no_use_again():
    with serving() as (where, _, _):
        with socket.create_connection(where, 5.0) as sock:
            theirs = messages.exactly(sock, len(messages.GREETING) + 32)[len(messages.GREETING) :]
            answer = b"C" + b"n" * 32 + messages.prove(TOKEN, b"client", b"C", theirs, b"n" * 32)
            sock.sendall(answer)
            assert messages.exactly(sock, messages.PROOF) != bytes(messages.PROOF)
        with socket.create_connection(where, 5.0) as sock:
            messages.exactly(sock, len(messages.GREETING) + 32)
            sock.sendall(answer)
            assert messages.exactly(sock, messages.PROOF) == bytes(messages.PROOF)


def test_a_server_that_does_not_know_the_token_is_found_out():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
        with client, server:
            server.sendall(messages.GREETING + bytes(32) + b"\1" * messages.PROOF)
            assert not messages.greet_as_client(client, TOKEN, messages.CONTROL)


BROKEN = {
    "magic": raw(messages.DESCRIBE, magic=b"XX"),
    "version": raw(messages.DESCRIBE, version=99),
    "oversize object": raw(messages.DESCRIBE, text_bytes=messages.OBJECT_BYTES + 1),
    "oversize body": raw(messages.ARM, body_bytes=messages.BODY_BYTES + 1),
    "no json": raw(messages.ARM, text=b"\x80\x04\x95pickle"),
    "no dictionary": raw(messages.ARM, text=b"[1, 2]"),
    "nan": raw(messages.PARK, text=b'{"yx": [NaN, 0.5]}'),
    "infinity": raw(messages.PARK, text=b'{"yx": [-Infinity, 0.5]}'),
    "deep": raw(messages.ARM, text=b"[" * 60_000),
    "endless number": raw(messages.PARK, text=b'{"yx": [' + b"9" * 60_000 + b", 0]}"),
    "array beyond the body": raw(messages.ARM, text=b'{"scan": {"yx": {"array": ["<f8", [9, 2]]}}}', body=b"12345678"),
    "array of objects": raw(messages.ARM, text=b'{"scan": {"yx": {"array": ["|O", [1]]}}}', body=b"12345678"),
    "negative shape": raw(messages.ARM, text=b'{"scan": {"yx": {"array": ["<f8", [-1]]}}}', body=b"12345678"),
    "huge shape": raw(messages.ARM, text=b'{"scan": {"yx": {"array": ["<f8", [1e999]]}}}', body=b"12345678"),
    "body of nobody": raw(messages.PARK, text=b'{"yx": null}', body=b"12345678"),
    "bool of 7": raw(messages.ARM, text=b'{"scan": {"active": {"array": ["|b1", [8]]}}}', body=b"\7" * 8),
    "two at once": raw(messages.DESCRIBE) * 2,
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_message_cuts_the_connection(sent):
    with serving() as (where, driver, _):
        control, side, _ = leased(where)
        before = [command for command in driver.commands if command[0] not in ("abort", "blank", "describe")]
        control.socket.sendall(sent)
        assert is_cut(control) or sent.count(b"PW") == 2
        side.close()
        assert [command for command in driver.commands if command[0] not in ("abort", "blank", "describe")] == before
        RemoteDriver(where, TOKEN).close()


@pytest.mark.parametrize("kind", [0, 12, 15, messages.BEAT, messages.ABORT, 63, 64, 255])
def test_there_are_no_other_verbs(kind):
    with serving() as (where, driver, _):
        control, side, fence = leased(where)
        before = len(driver.commands)
        control.socket.sendall(raw(kind, fence, b'{"message": "__class__"}'))
        assert control.receive().kind == messages.DENIED
        assert len(driver.commands) == before
        control.close()
        side.close()


WRONG = {
    "unknown field": (messages.PARK, b'{"yx": [0.5, 0.5], "__class__": 1}'),
    "missing field": (messages.PARK, b""),
    "start of nothing": (messages.START, b""),
    "park outside": (messages.PARK, b'{"yx": [0.5, 1.0000001]}'),
    "park overflows": (messages.PARK, b'{"yx": [1e999, 0.5]}'),
    "park of three": (messages.PARK, b'{"yx": [0.5, 0.5, 0.5]}'),
    "park by name": (messages.PARK, b'{"yx": "ab"}'),
    "read for ever": (messages.READ, b'{"timeout_s": 1e300}'),
    "read before now": (messages.READ, b'{"timeout_s": -1}'),
    "arm without a context": (messages.ARM, b'{"scan": {}, "channels": []}'),
    "rows": (messages.ARM, arm(shape=[0, 6])),
    "endless rows": (messages.ARM, arm(shape=[1 << 40, 1 << 40])),
    "dwell": (messages.ARM, arm(dwell_ns=1e9)),
    "dwell of true": (messages.ARM, arm(dwell_ns=True)),
    "dwell between steps": (messages.ARM, arm(dwell_ns=1001)),
    "size": (messages.ARM, arm(size_yx=[1.1, 1.0])),
    "centre": (messages.ARM, arm(centre_yx=[0.5, 777]).replace(b"777", b"1e999")),
    "kind": (messages.ARM, arm(kind="spiral")),
    "more than a raster has": (messages.ARM, arm(exec="rm")),
    "share too much": (messages.MEMORY, b'{"bytes": 99999999999}'),
    "share by TCP": (messages.MEMORY, b'{"bytes": 4096}'),
}


@pytest.mark.parametrize(("kind", "text"), WRONG.values(), ids=WRONG.keys())
def test_a_request_outside_the_limits_does_not_reach_the_driver(kind, text):
    with serving() as (where, driver, _):
        control, side, fence = leased(where)
        before = len(driver.commands)
        control.socket.sendall(raw(kind, fence, text))
        reply = control.receive()
        assert reply.kind in (messages.REFUSED, messages.FAILED, messages.DENIED)
        assert reply.data["message"]
        assert {command[0] for command in driver.commands[before:]} <= {"abort", "blank"}
        assert driver.beam == "blanked"
        control.close()
        side.close()


@pytest.mark.parametrize(
    "sent", [raw(messages.BEAT)[:10], raw(messages.BLANK), raw(messages.BEAT, text=b"{}"), b"?" * 24]
)
def test_a_broken_side_connection_takes_the_beam_off(sent):
    with serving(heartbeat_s=0.3) as (where, driver, _):
        client = lit(where, driver)
        client._side.socket.sendall(sent)
        assert comes(lambda: driver.beam == "blanked", 2.0)
        client._end()


def test_half_a_message_takes_the_beam_off():
    with serving(heartbeat_s=0.3) as (where, driver, _):
        client = lit(where, driver)
        client._control.socket.sendall(raw(messages.PARK, text=b'{"yx": null}')[:-5])
        assert comes(lambda: driver.beam == "blanked", 2.0)
        client._end()


def test_a_client_that_does_not_take_its_frame_loses_the_beam_and_then_the_lease(monkeypatch):
    monkeypatch.setattr("probewise_agent.owner.SEND_S", 0.3)
    large = {**RASTER, "shape": [1000, 1000]}
    with serving(heartbeat_s=0.5) as (where, driver, server):
        control, side, fence = leased(where)
        for kind, data in (
            (messages.ARM, {"scan": large, "context": CONTEXT, "channels": ["HAADF", "BF"]}),
            (messages.LIGHT, None),
            (messages.START, None),
        ):
            control.send(kind, 1, fence, data)
            assert control.receive().kind == messages.DONE
        control.send(messages.READ, 1, fence, {"timeout_s": 5.0})
        assert comes(lambda: driver.beam == "blanked")
        assert comes(lambda: server._lease.holder is None)
        RemoteDriver(where, TOKEN).close()
        control.close()
        side.close()


def test_connections_that_say_nothing_keep_nobody_out(monkeypatch):
    monkeypatch.setattr("probewise_agent.server.GREETING_S", 0.3)
    with serving() as (where, _, _):
        idle = [socket.create_connection(where) for _ in range(20)]
        begun = time.monotonic()
        dribbling = idle[0]

        def gets_in():
            with contextlib.suppress(OSError):
                dribbling.send(b"C")
            try:
                RemoteDriver(where, TOKEN).close()
            except DriverError:
                return False
            return True

        assert comes(gets_in, 10.0)
        assert time.monotonic() - begun < 5.0
        for sock in idle:
            sock.close()


def test_a_verb_needs_the_lease_first():
    with serving() as (where, driver, _):
        before = len(driver.commands)
        stream = connected(where)
        stream.send(messages.LIGHT, 1, 1)
        assert is_cut(stream)
        side = connected(where, messages.SIDE)
        side.send(messages.ATTACH, 1, 12345)
        assert side.receive().kind == messages.DENIED
        side.close()
        assert len(driver.commands) == before


def test_the_beam_cannot_be_lit_without_the_side_connection():
    with serving() as (where, driver, _):
        control = connected(where)
        control.send(messages.LEASE, 0, 0, {})
        fence = control.receive().fence
        control.send(messages.LIGHT, 1, fence)
        reply = control.receive()
        assert reply.kind == messages.DENIED
        assert "side connection" in reply.data["message"]
        assert driver.beam == "blanked"
        control.close()


def test_random_bytes_never_reach_the_driver():
    random = np.random.default_rng(3)
    with serving() as (where, driver, _):
        for _ in range(60):
            control, side, fence = leased(where)
            text = bytearray(raw(messages.ARM, fence, arm()))
            for _ in range(int(random.integers(1, 6))):
                text[int(random.integers(len(text)))] = int(random.integers(256))
            control.socket.sendall(text)
            control.socket.shutdown(socket.SHUT_WR)
            control.socket.settimeout(5.0)
            with contextlib.suppress(ConnectionLost, MessageError):
                control.receive()
            control.close()
            side.close()
        for command in driver.commands:
            assert command[0] in ("describe", "abort", "blank", "arm")
            if command[0] == "arm":
                assert 100 <= command[1]["dwell_ns"] <= 1_000_000
                assert max(command[1]["shape"]) <= 1 << 20
        assert driver.beam == "blanked"


def test_a_million_random_positions_and_none_outside_reaches_the_driver():
    """Paths of 1,000 positions each, some within the field and some a little or far outside, or not finite."""
    random = np.random.default_rng(4)
    driver = PlainDriver()
    seen = []
    driver.arm = lambda scan, context, channels: seen.append(scan["yx"].copy()) or {"scan": scan, "duration_ns": 1}
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 2.0), -1e-17, 1e300])
    path = {"kind": "path", "dwell_ns": np.full(1000, 100), "active": np.ones(1000, bool),
            "pixel": np.zeros(1000, "i4"), "shape": [1, 1]}  # fmt: skip
    passed = 0
    with serving(driver) as (where, _, _):
        client = RemoteDriver(where, TOKEN)
        for _ in range(1000):
            yx = random.random((1000, 2))
            spoilt = int(random.integers(0, 3))
            yx[random.integers(0, 1000, spoilt), random.integers(0, 2, spoilt)] = random.choice(
                np.r_[odd, random.normal(0.5, 1.0, 10)], spoilt
            )
            good = bool(((yx >= 0) & (yx <= 1)).all())
            refused = (
                contextlib.nullcontext() if good else pytest.raises(ValueError, match=r"yx\[\d+\] is .* within 0..1")
            )
            with refused:
                client.arm({**path, "yx": yx}, CONTEXT, ["BF"])
            passed += good
        client.close()
    assert len(seen) == passed
    assert 300 < passed < 900
    assert all(((yx >= 0) & (yx <= 1)).all() for yx in seen)


def test_a_message_that_is_too_large_is_not_sent():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = Stream(ours)
        with pytest.raises(MessageError, match="too many"):
            stream.send(messages.ARM, data={"text": "x" * messages.OBJECT_BYTES})
        with pytest.raises(TypeError, match="cannot be sent"):
            stream.send(messages.ARM, data={"yx": np.array([1j])})
        with pytest.raises(ValueError, match="not JSON compliant"):
            stream.send(messages.ARM, data={"dwell": float("nan")})
        theirs.settimeout(0.05)
        with pytest.raises(socket.timeout):
            theirs.recv(1)


def test_the_prefix_is_what_the_protocol_says():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Stream(ours).send(messages.ARM, 7, 9, {"a": np.array([1.0, 2.0], dtype=">f4")})
        got = theirs.recv(1000)
    text = b'{"a":{"array":["<f4",[2]]}}'
    assert got == b"PW\x01\x03" + struct.pack(">IQII", 7, 9, len(text), 8) + text + struct.pack("<2f", 1, 2)
