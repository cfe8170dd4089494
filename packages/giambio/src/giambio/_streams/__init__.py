# SPDX-License-Identifier: Apache-2.0
"""What a byte stream is, and what is put on top of one: buffers, text, frames."""
