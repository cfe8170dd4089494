# SPDX-License-Identifier: Apache-2.0
"""Who takes part on the wire."""

from __future__ import annotations

from benchmarks.contenders import Contender

# `like` is the module in `servers`. Some libraries have two ways to write a server.
WIRE_CONTENDERS = (
    Contender("C, epoll", "c", is_peer=False),
    Contender("bare callbacks", "bare", like="on_callbacks", is_peer=False),
    Contender("bare", "bare", like="on_bare", is_peer=False),
    Contender("giambio", "giambio", like="on_giambio", is_peer=False),
    Contender("uvloop Protocol", "uvloop", like="on_protocol"),
    Contender("uvloop streams", "uvloop", like="on_streams"),
    Contender("asyncio BufferedProtocol", "asyncio", like="on_buffered_protocol"),
    Contender("asyncio streams", "asyncio", like="on_streams"),
    Contender("curio -O", "curio", flags=("-O",), like="on_curio"),
    Contender("curio", "curio", like="on_curio"),
    Contender("trio", "trio", like="on_trio"),
)
