# SPDX-License-Identifier: Apache-2.0
"""The servers, as a user of each library would write them.

Each module has a function for each service that it offers, which takes a socket and serves until the
process is ended:

- ``echo`` takes one that listens, and sends back what it receives, on any number of connections;
- ``echo_with_timeout`` does the same and gives each receive 30 seconds;
- ``tls_echo`` does the same as ``echo`` over TLS, for which it takes a context, too;
- ``udp_echo`` takes one for datagrams, and sends each back to where it came from.

All read at most 64 KiB at a time, except asyncio's streams and datagrams, whose size nobody can choose.
"""
