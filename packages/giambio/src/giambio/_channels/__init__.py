# SPDX-License-Identifier: Apache-2.0
"""What tasks hand items to one another with: channels, queues, broadcasts, and choosing among them."""
