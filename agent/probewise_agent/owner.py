# SPDX-License-Identifier: BSD-3-Clause
"""The thread that owns the driver: it makes it, reads the controller's commands and calls the verbs, one at a time.

Drivers tie objects to the thread that made them, so every verb but `abort` is called here. There is no hop between
threads on the way of a command.
"""

from __future__ import annotations

import logging
import mmap
import os
import queue
import time
from typing import Any, Callable

import numpy as np

from probewise_agent import checks, memory, messages
from probewise_agent.beam import Beam
from probewise_agent.connection import Controller, Lease
from probewise_agent.driver import Driver, DriverError, ScanFailed, ScanLate, samples_of
from probewise_agent.messages import ConnectionLost, Message, MessageError

VERB_S = 10.0  # what a verb may take before the guard aborts it; a read has its own time beside it
ABORT_S = 2.0  # what an abort may take
SEND_S = 5.0  # a controller that does not take its reply is cut
REPLY = "the reply"  # what is in flight when no verb is
READ_GRACE_S = 1.0  # beyond the time that a read was given
SHARED_BYTES = messages.BODY_BYTES

log = logging.getLogger("probewise_agent")


class Denied(Exception):
    """The controller has no right to ask this, or not yet."""


class Owner:
    """Serves one controller after the other, in the order in which they got the lease.

    busy       (name of the verb, when it has to be over on time.monotonic), None between verbs
    left_well  whether the last controller closed, and did not just vanish; None before the first
    """

    def __init__(self, make_driver: Callable[[], Driver], beam_of: Callable[[Driver], Beam], lease: Lease) -> None:
        self.busy: tuple[str, float] | None = None
        self.ready: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.queue: queue.SimpleQueue[Controller | None] = queue.SimpleQueue()
        self.welcome: dict[str, Any] = {}
        self._make_driver = make_driver
        self._beam_of = beam_of
        self._lease = lease
        self._driver: Driver
        self._beam: Beam
        self._limits: checks.Limits
        self._description: dict[str, Any] = {}
        self._armed: tuple[int, int, int] | None = None  # channels, samples, ns
        self._started: tuple[int, int] | None = None  # channels, samples
        self._notices: list[str] = []
        self._shared: mmap.mmap | None = None
        self._out: Any = None
        self.left_well: bool | None = None
        self._verbs: dict[int, tuple[str, Callable[[Controller, Message], dict[str, Any] | None]]] = {
            messages.DESCRIBE: ("describe", lambda controller, message: self._describe()),
            messages.ARM: ("arm", self._arm),
            messages.START: ("start", self._start),
            messages.READ: ("read_into", self._read),
            messages.PARK: ("park", self._park),
            messages.BLANK: ("blank", self._blank),
            messages.LIGHT: ("blank", self._light),
            messages.SPENT: ("spent", self._spent),
        }

    def run(self) -> None:
        try:
            self._driver = self._make_driver()
            self._beam = self._beam_of(self._driver)
            self._beam.start()
            self._settle()
            self._describe()
        except BaseException as error:  # noqa: BLE001  whoever started the thread raises it
            self.ready.put(error)
            return
        self.ready.put(None)
        while True:
            controller = self.queue.get()
            if controller is None:
                break
            try:
                self._serve(controller)
            except Exception:
                log.exception("fault of the server")
            finally:
                self._settle()
                self._beam.wait(ABORT_S)
                self._shared = None
                self._lease.release(controller)
                log.info("%s left: %s", controller.label, controller.lost)
        self._driver.close()

    @property
    def beam(self) -> Beam:
        return self._beam

    def _serve(self, controller: Controller) -> None:
        control, beam = controller.control, self._beam
        self.left_well = False
        self._armed = self._started = None
        try:
            control.send(
                messages.DONE,
                controller.request,
                controller.fence,
                {**self.welcome, "shares_memory": memory.can_share(control.socket)},
            )
            log.info("%s has the instrument, token %d", controller.label, controller.fence)
            while controller.lost is None:
                message = control.receive()
                controller.sign = time.monotonic()
                if control.pending:
                    raise MessageError("a second verb came while one was in flight")
                if message.kind == messages.CLOSE:
                    self._settle()
                    self.left_well = True
                    control.send(messages.DONE, message.request, controller.fence)
                    controller.loses("it is done", beam.make_safe)
                elif message.kind == messages.MEMORY:
                    self._share(controller, message)
                else:
                    kind, data = self._outcome(controller, message)
                    out, self._out = self._out, None
                    raw = b"" if out is None or kind != messages.DONE else memoryview(out).cast("B")
                    control.send(kind, message.request, controller.fence, data, raw)
                self.busy = None
                controller.sign = time.monotonic()
        except (ConnectionLost, MessageError) as error:
            controller.loses(str(error), beam.make_safe)
        except BaseException as error:
            controller.loses(f"fault of the server: {error!r}", beam.make_safe)
            raise
        finally:
            self.busy = None
            controller.hang_up()

    def _outcome(self, controller: Controller, message: Message) -> tuple[int, dict[str, Any] | None]:
        """Call a verb: kind and object of the reply. What went wrong is a reply too, and then the beam is off."""
        verb, function = self._verbs.get(message.kind, ("", None))
        if function is None:
            return messages.DENIED, {"message": f"there is no verb {message.kind} on this connection"}
        try:
            return self._called(controller, message, verb, function)
        finally:
            self.busy = (REPLY, time.monotonic() + SEND_S)  # before it goes out: another verb may follow at once

    def _called(
        self,
        controller: Controller,
        message: Message,
        verb: str,
        function: Callable[[Controller, Message], dict[str, Any] | None],
    ) -> tuple[int, dict[str, Any] | None]:
        beam, aborts = self._beam, self._beam.aborts
        try:
            if message.fence != controller.fence:
                raise Denied(f"the fencing token is {message.fence}, expected {controller.fence}")
            self.busy = (verb, time.monotonic() + VERB_S)
            data = function(controller, message)
            if beam.aborts != aborts and verb in ("start", "blank", "park", "read_into"):
                raise ScanFailed(f"aborted during {verb}: {beam.cut or 'as was asked'}")
            return messages.DONE, data
        except Denied as error:
            return messages.DENIED, {"message": str(error)}
        except ValueError as error:
            if verb in ("arm", "park"):
                return messages.REFUSED, {"message": str(error)}
            kind, text = messages.FAILED, f"{verb} failed: {error}"
        except ScanLate as error:
            kind, text = messages.LATE, str(error)
        except ScanFailed as error:
            kind, text = messages.FAILED, str(error)
        except DriverError as error:
            kind, text = messages.FAULT, str(error)
        except Exception as error:  # noqa: BLE001  a driver may raise anything
            kind, text = messages.FAULT, f"{verb} failed: {type(error).__name__}: {error}"
        self._started = None
        if verb != "describe":
            failure = self._settle()
            text = text if failure is None else f"{text}; the beam may be on: {failure}"
        return kind, {"message": text[:4000]}

    def _settle(self) -> BaseException | None:
        """Beam off, on this thread; what failed when nothing worked."""
        self._armed = self._started = None
        driver, failure, safe = self._driver, None, False
        means: list[Callable[[], None]] = [driver.abort, driver.abort]
        if "BLANK" in self._description.get("capabilities", ()):
            means = [driver.abort, lambda: driver.blank(True), lambda: driver.blank(True)]
        for number, mean in enumerate(means):
            try:
                mean()
            except Exception as error:  # noqa: BLE001  the next means is tried
                failure = error
            else:
                safe = True
                if number > 0 or len(means) == 2:
                    break
        if safe:
            self._beam.dark()
            return None
        log.error("the beam may be on: %r", failure)
        return failure

    # Verbs

    def _describe(self) -> dict[str, Any]:
        self._description = self._driver.describe()
        self._limits = checks.Limits(self._description)
        return self._description

    def _arm(self, controller: Controller, message: Message) -> dict[str, Any]:
        self._armed = None
        self._beam.wait(ABORT_S)
        scan, context, channels = _fields(message, "scan", "context", "channels")
        self._limits.check_channels(channels)
        self._limits.check_context(context)
        self._limits.check_scan(scan)
        if self._beam.cut is not None:
            self._notices.append(f"the beam was taken off: {self._beam.cut}")
            self._beam.cut = None
        gave = self._driver.arm(scan, context, channels)
        self._armed = (len(channels), samples_of(gave["scan"]), int(gave["duration_ns"]))
        return {"scan": gave["scan"], "duration_ns": self._armed[2]}

    def _start(self, controller: Controller, message: Message) -> dict[str, Any] | None:
        armed, self._armed = self._armed, None
        if armed is None:
            raise ScanFailed("no scan is armed")
        self._may_light(controller, armed[2])
        if self._beam.cut is not None:
            raise ScanFailed(f"the beam was taken off: {self._beam.cut}")
        self._driver.start()
        self._started = armed[:2]
        return None

    def _park(self, controller: Controller, message: Message) -> dict[str, Any] | None:
        (yx,) = _fields(message, "yx")
        checks.check_park(yx)
        self._may_light(controller)
        self._driver.park(None if yx is None else (float(yx[0]), float(yx[1])))
        if yx is not None and "BLANK" not in self._limits.capabilities:
            self._beam.dark()
        return None

    def _blank(self, controller: Controller, message: Message) -> dict[str, Any] | None:
        self._driver.blank(True)
        self._beam.dark()
        return None

    def _light(self, controller: Controller, message: Message) -> dict[str, Any] | None:
        self._may_light(controller)
        self._beam.cut = None
        self._driver.blank(False)
        return None

    def _spent(self, controller: Controller, message: Message) -> dict[str, Any]:
        dose = self._beam.dose
        return {"spent_ns": dose.spent_ns, "reserved_ns": dose.ahead_ns, "budget_ns": dose.budget_ns}

    def _may_light(self, controller: Controller, for_ns: int = 0) -> None:
        if controller.side is None:
            raise Denied("the side connection is missing, over which the beam is taken off")
        if controller.lost is not None:
            raise ScanFailed(f"the controller is gone: {controller.lost}")
        self._beam.light(for_ns)

    def _read(self, controller: Controller, message: Message) -> dict[str, Any]:
        """The started scan, into shared memory when the controller has some, into `_out` for the wire else."""
        timeout_s = checks.check_timeout(_fields(message, "timeout_s")[0])
        started, self._started = self._started, None
        if started is None:
            raise ScanFailed(f"nothing is being scanned: {self._beam.cut or 'start it first'}")
        self.busy = ("read_into", time.monotonic() + timeout_s + READ_GRACE_S)
        count, shared = started[0] * started[1], self._shared
        if shared is not None and len(shared) >= 4 * count:
            out = np.frombuffer(shared, np.float32, count).reshape(started)
        else:
            out = np.empty(started, np.float32)
            shared = None
        gave = self._driver.read_into(out, timeout_s)
        self._out = out if shared is None else None
        notices, self._notices = [*gave["notices"], *self._notices], []
        return {
            "valid": int(gave["valid"]),
            "started_ns": int(gave["started_ns"]),
            "duration_ns": int(gave["duration_ns"]),
            "notices": [str(notice) for notice in notices],
            "shared": shared is not None,
        }

    def _share(self, controller: Controller, message: Message) -> None:
        (size,) = _fields(message, "bytes")
        control = controller.control
        if not (type(size) is int and 0 < size <= SHARED_BYTES and memory.can_share(control.socket)):
            control.send(messages.DENIED, message.request, controller.fence, {"message": f"no {size!r} bytes to share"})
            return
        handle, self._shared = memory.make(size)
        try:
            control.send(messages.DONE, message.request, controller.fence)
            control.receive()  # the controller has read the reply to its end and waits for the descriptor alone
            memory.send_handle(control.socket, handle)
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        finally:
            os.close(handle)


def _fields(message: Message, *names: str) -> list[Any]:
    if set(message.data) != set(names):
        raise ValueError(f"the request has {sorted(message.data)}, expected {sorted(names)}")
    return [message.data[name] for name in names]
