# SPDX-License-Identifier: Apache-2.0
"""Sockets, with and without TLS, and names. What is public of it is in `giambio.socket`."""
