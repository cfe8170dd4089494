# SPDX-License-Identifier: Apache-2.0
"""TLS over any stream."""
