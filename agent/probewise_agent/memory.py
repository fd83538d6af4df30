# SPDX-License-Identifier: BSD-3-Clause
"""Memory that two processes share for frames: anonymous, sealed in its size, handed over a Unix socket.

It has no name, so that nothing is left behind when either process dies.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import socket

# fcntl has these names from Python 3.9 on.
F_ADD_SEALS = 1033
SEALED = 0x0001 | 0x0002 | 0x0004  # neither the seals nor the size change any more: no access beyond a shrunk end


def can_share(sock: socket.socket) -> bool:
    unix = getattr(socket, "AF_UNIX", None)
    return unix is not None and sock.family == unix and hasattr(os, "memfd_create")


def make(size: int) -> tuple[int, mmap.mmap]:
    """A file descriptor to hand over and the memory behind it."""
    import fcntl

    handle = os.memfd_create("probewise-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, handle)
        os.ftruncate(handle, size)
        fcntl.fcntl(handle, F_ADD_SEALS, SEALED)
        memory = mmap.mmap(handle, size)
        undo.pop_all()
    return handle, memory


def send_handle(sock: socket.socket, handle: int) -> None:
    """One byte that carries the descriptor."""
    sock.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))])


def receive_memory(sock: socket.socket, size: int) -> mmap.mmap:
    """The memory behind the descriptor that the next byte carries."""
    handles = array.array("i")
    _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(handles.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            handles.frombytes(data[: len(data) - len(data) % handles.itemsize])
    if len(handles) != 1:
        for handle in handles:
            os.close(handle)
        raise OSError("no shared memory was handed over")
    try:
        return mmap.mmap(handles[0], size)
    finally:
        os.close(handles[0])
