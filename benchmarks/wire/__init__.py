# SPDX-License-Identifier: Apache-2.0
"""Servers under load, each in a process of its own, and so is the client.

- `servers` has an echo server for each contender, `server` starts one;
- `client.c` makes the load, or `client.py` where there is no compiler; `load` starts it.
"""
