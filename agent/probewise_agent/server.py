# SPDX-License-Identifier: BSD-3-Clause
"""One driver, served to one controller at a time; the beam is taken off when the controller stops giving signs of life.

Threads: the caller of `run` is the guard, which waits on the side connections and looks at the beam every TICK_S; the
owner calls the driver; one thread calls `abort`; one accepts, and each greeting has a thread of its own for at most
GREETING_S. Nobody but the owner waits for the driver.

The beam may be on while a verb is in flight whose controller beats, and for `heartbeat_s` after the last thing heard
from it; there is no other way. A controller beats from the thread that waits for the reply, so one that hangs between
verbs, with the beam on, gives no sign.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from typing import Callable, Tuple, Union

from probewise_agent import messages
from probewise_agent.beam import Beam
from probewise_agent.connection import Controller, Lease
from probewise_agent.dose import Dose
from probewise_agent.driver import Driver
from probewise_agent.messages import ConnectionLost, MessageError, Stream
from probewise_agent.owner import ABORT_S, REPLY, Owner

TICK_S = 0.02
PRECEDENCE = -10  # as of setpriority
GREETING_S = 2.0
GREETINGS = 8  # at once; more are turned away
FIRST_S = 20.0  # a server that lingers waits so long for its first controller
STUCK_S = 2.0  # a lease is refused when the driver has not returned for so long

log = logging.getLogger("probewise_agent")
Address = Union[str, Tuple[str, int]]


def listen(address: Address) -> socket.socket:
    """A listening socket on (HOST, PORT), or on the path of a Unix socket that its owner alone may use."""
    if isinstance(address, str):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(address)
        finally:
            os.umask(before)
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # on Windows it would let another program take the port as well
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    listener.listen(GREETINGS)
    return listener


def take_precedence() -> bool:
    """Ask the system to run this thread, and those that it starts, before others; whether it does."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRECEDENCE)
    except (AttributeError, OSError):  # Windows; a user without the right (`ulimit -e`)
        return False
    return True


class Server:
    """
    make_driver  called on the thread that will call the verbs
    token        what a controller has to know
    heartbeat_s  silence, with the beam on, after which it is taken off
    lease_s      silence after which another controller may take over
    linger_s     after which `run` returns when a controller vanished, at once when it closed; None for never
    """

    def __init__(
        self,
        make_driver: Callable[[], Driver],
        token: bytes,
        listener: socket.socket,
        *,
        dose: Dose | None = None,
        heartbeat_s: float = 0.18,
        lease_s: float = 30.0,
        linger_s: float | None = None,
    ) -> None:
        self._token = token
        self._listener = listener
        self._dose = dose or Dose()
        self._heartbeat_s = heartbeat_s
        self._linger_s = linger_s
        self._lease = Lease(self._dose, lease_s)
        self._owner = Owner(make_driver, lambda driver: Beam(driver.abort, self._dose), self._lease)
        self._owner.welcome = {"heartbeat_s": heartbeat_s}
        self._greetings = threading.BoundedSemaphore(GREETINGS)
        self._stop: str | None = None
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._owner.run, name="owner", daemon=True)

    def open(self) -> None:
        """Make the driver and the beam safe; what that raised."""
        self._thread.start()
        error = self._owner.ready.get()
        if error is not None:
            for sock in (self._listener, self._wake, self._woken):
                sock.close()
            raise error
        self._lease.free_since = time.monotonic()
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    @property
    def left_well(self) -> bool:
        """Whether the last controller closed, and did not just vanish."""
        return self._owner.left_well is True

    def stop(self, reason: str) -> None:
        """End `run`, from any thread or a signal handler."""
        self._stop = self._stop or reason
        with contextlib.suppress(OSError):  # it has ended
            self._wake.send(b"\0")

    def run(self) -> None:
        """Guard the beam until `stop`; on return the beam is off and the driver closed, unless it hangs."""
        try:
            while self._stop is None:
                self._guard()
        finally:
            self._end()

    def _end(self) -> None:
        reason = self._stop or "the server failed"
        _shut(self._listener)  # wakes the thread that accepts
        self._listener.close()
        holder = self._lease.holder
        if holder is not None:
            holder.loses(reason, self._owner.beam.make_safe)
            holder.hang_up()
        done = self._owner.beam.make_safe(reason)
        self._owner.queue.put(None)
        done.done.wait(ABORT_S)
        self._thread.join(ABORT_S)
        if self._thread.is_alive():
            log.error("the driver hangs in %s and was not closed", self._owner.busy)
        self._owner.beam.stop()
        self._wake.close()
        self._woken.close()

    # The guard

    def _guard(self) -> None:
        holder = self._lease.holder
        side = None if holder is None or holder.lost is not None else holder.side
        waited = [self._woken] if side is None else [self._woken, side.socket]
        try:
            readable, _, _ = select.select(
                waited, [], [], 0.25 if holder is None and self._linger_s is None else TICK_S
            )
        except (OSError, ValueError):  # closed in between
            readable = []
        if self._woken in readable:
            self._woken.recv(64)
        if side is not None and holder is not None and side.socket in readable:
            self._hear(holder, side)
        self._look()

    def _hear(self, controller: Controller, side: Stream) -> None:
        try:
            for message in side.bare():
                controller.sign = time.monotonic()
                if message.kind == messages.ABORT:
                    self._abort_for(controller, side, message.request)
                elif message.kind != messages.BEAT:
                    raise MessageError(f"there is no verb {message.kind} on a side connection")
        except (ConnectionLost, MessageError) as error:
            self._cut(controller, f"the side connection was cut: {error}")

    def _abort_for(self, controller: Controller, side: Stream, request: int) -> None:
        abort = self._owner.beam.make_safe("the controller asked for it")

        def answer() -> None:
            returned = abort.done.wait(ABORT_S)
            kind, text = messages.DONE, ""
            if not returned:
                kind, text = messages.FAULT, f"abort has not returned within {ABORT_S} s: the beam may be on"
            elif abort.error is not None:
                kind, text = messages.FAULT, f"abort failed, the beam may be on: {abort.error!r}"
            with contextlib.suppress(ConnectionLost):  # noticed by the guard
                side.send(kind, request, controller.fence, {"message": text} if text else None)

        threading.Thread(target=answer, name="abort asked", daemon=True).start()

    def _cut(self, controller: Controller, reason: str) -> None:
        """The controller is gone: beam off first, then everything else."""
        controller.loses(reason, self._owner.beam.make_safe)
        controller.hang_up()

    def _look(self) -> None:
        now, beam, busy = time.monotonic(), self._owner.beam, self._owner.busy
        holder = self._lease.holder
        if beam.lit:
            reason = beam.look()
            if holder is None:
                reason = reason or "no controller has the instrument"
            elif holder.lost is not None:
                reason = reason or holder.lost
            elif now - holder.sign > self._heartbeat_s:
                reason = reason or f"no sign of life from the controller for {now - holder.sign:.2f} s"
            elif busy is not None and now > busy[1]:
                reason = reason or f"{busy[0]} passed its time"
            if reason is not None:
                beam.keep_safe(reason)
        if holder is not None and busy is not None and holder.lost is None:
            self._look_at_control(holder, now, busy)
        if self._linger_s is not None and holder is None:
            had_one, well = self._owner.left_well is not None, self._owner.left_well
            if well or now - self._lease.free_since > (self._linger_s if had_one else FIRST_S):
                self._stop = "no controller is left"
        if not self._thread.is_alive():
            self._stop = self._stop or "the owner's thread has ended"

    def _look_at_control(self, holder: Controller, now: float, busy: tuple[str, float]) -> None:
        """While a verb is in flight the owner does not read: the end, or a second verb, is seen here."""
        sock = holder.control.socket
        try:
            if busy[0] != REPLY and select.select([sock], [], [], 0)[0]:
                gone = not sock.recv(1, socket.MSG_PEEK)
                if self._owner.busy == busy:
                    self._cut(holder, "the control connection was cut" if gone else "a second verb while one runs")
        except (OSError, ValueError):
            return  # closed in between
        if busy[0] == REPLY and now > busy[1]:
            self._cut(holder, f"{busy[0]} was not taken in time")

    # Who comes

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            if not self._greetings.acquire(blocking=False):
                sock.close()
                continue
            threading.Thread(target=self._greet, args=(sock, peer), name="greeting", daemon=True).start()

    def _greet(self, sock: socket.socket, peer: object) -> None:
        label = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and peer else "a controller on this machine"
        keep = False
        timer = threading.Timer(GREETING_S, _shut, args=(sock,))  # bounds the sum of all waits for a slow client
        timer.daemon = True
        timer.start()
        try:
            sock.settimeout(GREETING_S)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            role = messages.greet_as_server(sock, self._token)
            if role is None:
                log.warning("%s does not know the token", label)
                return
            stream = Stream(sock)
            message = stream.receive(body_bytes=0)
            keep = (self._lend if role == messages.CONTROL else self._attach)(stream, message, label)
        except (ConnectionLost, MessageError, OSError) as error:
            log.warning("%s: %s", label, error)
        finally:
            timer.cancel()
            self._greetings.release()
            if not keep:
                sock.close()

    def _lend(self, stream: Stream, message: messages.Message, label: str) -> bool:
        if message.kind != messages.LEASE:
            raise MessageError(f"the first message is of kind {message.kind}, expected a request for the lease")
        who = message.data.get("who")
        if isinstance(who, str) and who.isprintable():
            label = f"{label} ({who[:64]})"
        busy, holder = self._owner.busy, self._lease.holder
        stuck = busy is not None and holder is not None and holder.lost and time.monotonic() > busy[1]
        controller = Controller(stream, label, message.request)
        refused = (
            f"the driver hangs in {busy[0]} of an earlier controller"
            if stuck and busy is not None
            else self._lease.take(controller, self._cut)
        )
        if refused is not None:
            stream.send(messages.DENIED, message.request, 0, {"message": refused})
            return False
        stream.socket.settimeout(None)
        self._owner.queue.put(controller)
        return True

    def _attach(self, stream: Stream, message: messages.Message, label: str) -> bool:
        if message.kind != messages.ATTACH:
            raise MessageError(f"the first message is of kind {message.kind}, expected to attach")
        stream.socket.settimeout(ABORT_S)
        controller = self._lease.attach(message.fence, stream)
        if controller is None:
            stream.send(messages.DENIED, message.request, 0, {"message": "the lease is another's"})
            return False
        stream.send(messages.DONE, message.request, controller.fence)
        with contextlib.suppress(OSError):  # it has ended
            self._wake.send(b"\0")
        return True


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
