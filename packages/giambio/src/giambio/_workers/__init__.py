# SPDX-License-Identifier: Apache-2.0
"""Loops in threads of their own, and functions in other processes and interpreters."""
