# SPDX-License-Identifier: Apache-2.0
"""Connecting and serving: TCP, UDP and UNIX sockets."""
