# SPDX-License-Identifier: Apache-2.0
"""What ``python -m giambio`` does."""
