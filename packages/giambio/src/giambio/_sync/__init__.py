# SPDX-License-Identifier: Apache-2.0
"""What tasks wait for one another with: events, locks and their kin."""
