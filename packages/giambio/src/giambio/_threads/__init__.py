# SPDX-License-Identifier: Apache-2.0
"""Calls of functions in threads, and of the loop by threads."""
