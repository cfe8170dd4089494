/* SPDX-License-Identifier: Apache-2.0
 *
 * The floor of the floor: an echo server on epoll in C.
 *
 * Usage: server SECONDS SERVICE
 *
 * After SECONDS it ends. SERVICE is udp_echo; or echo, with or without a timeout, for here is none.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    int fd;
    /* What could not be sent at once. */
    char *rest;
    size_t start, end;
} Connection;

/* What the exit status tells; see server.py. */
enum { NO_SUCH_SERVICE = 3 };

static int poller;
static char buffer[65536];

static void watch(Connection *connection, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, operation, connection->fd, &event);
}

static void hang_up(Connection *connection)
{
    close(connection->fd);
    free(connection->rest);
    free(connection);
}

static void echo(Connection *connection)
{
    ssize_t n = recv(connection->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        hang_up(connection);
        return;
    }
    ssize_t sent = send(connection->fd, buffer, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(connection);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent == n)
        return;
    /* Stop reading until the rest is gone. */
    connection->rest = malloc(sizeof buffer);
    memcpy(connection->rest, buffer + sent, n - sent);
    connection->start = 0;
    connection->end = n - sent;
    watch(connection, EPOLL_CTL_MOD, EPOLLOUT);
}

static void send_rest(Connection *connection)
{
    ssize_t sent = send(connection->fd, connection->rest + connection->start,
                        connection->end - connection->start, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN)
        return;
    if (sent < 0) {
        hang_up(connection);
        return;
    }
    connection->start += sent;
    if (connection->start < connection->end)
        return;
    free(connection->rest);
    connection->rest = NULL;
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

/* Send back all datagrams that have come. What does not fit into the buffers is lost. */
static void echo_datagrams(int fd)
{
    struct sockaddr_in client;
    socklen_t length = sizeof client;
    ssize_t n;
    while ((n = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&client, &length)) >= 0)
        sendto(fd, buffer, n, 0, (struct sockaddr *)&client, length);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    int datagrams = !strcmp(arguments[2], "udp_echo");
    if (!datagrams && strcmp(arguments[2], "echo") && strcmp(arguments[2], "echo_with_timeout"))
        return NO_SUCH_SERVICE;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    alarm(atoi(arguments[1]));

    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int type = (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK;
    Connection listener = {.fd = socket(AF_INET, type, 0)};
    if (bind(listener.fd, (struct sockaddr *)&address, length))
        return 1;
    if (!datagrams && listen(listener.fd, 1024))
        return 1;
    getsockname(listener.fd, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    poller = epoll_create1(0);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            Connection *connection = events[i].data.ptr;
            if (datagrams)
                echo_datagrams(listener.fd);
            else if (connection == &listener) {
                int fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0)
                    continue;
                connection = calloc(1, sizeof *connection);
                connection->fd = fd;
                watch(connection, EPOLL_CTL_ADD, EPOLLIN);
            } else if (connection->rest)
                send_rest(connection);
            else
                echo(connection);
        }
    }
}
