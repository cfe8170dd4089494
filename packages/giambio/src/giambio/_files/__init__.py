# SPDX-License-Identifier: Apache-2.0
"""Files, paths, pipes, and the program's own standard input and output."""
