/* SPDX-License-Identifier: Apache-2.0
 *
 * The load: a closed loop of requests on many connections. See client.py, which does the same where
 * there is no compiler and says what the arguments and the output mean.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How many connections may wait for their first answer: fewer than fit into a listener's backlog. */
enum { GREETING = 128 };

typedef struct {
    int fd;
    size_t sent, received;
    int greeted;
} Connection;

static struct sockaddr_in address = {.sin_family = AF_INET};
static int poller;
static size_t size;
static char *request, *reply;
/* Whether requests are datagrams, which may be lost. */
static int datagrams;

static void fail(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long nanoseconds(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now))
        fail("clock_gettime");
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void transmit(Connection *connection)
{
    while (connection->sent < size) {
        ssize_t n = send(connection->fd, request + connection->sent, size - connection->sent,
                         MSG_NOSIGNAL);
        if (n >= 0)
            connection->sent += n;
        else if (errno == EAGAIN)
            return; /* the edge of EPOLLOUT will tell */
        else
            fail("send");
    }
}

static void ask(Connection *connection)
{
    connection->sent = connection->received = 0;
    transmit(connection);
}

static void dial(Connection *connection)
{
    int yes = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    connection->fd = socket(AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (connection->fd < 0)
        fail("socket");
    /* Blocking, but on the same machine it takes microseconds. */
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    if (!datagrams)
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event))
        fail("epoll_ctl");
    connection->greeted = 0;
    ask(connection);
}

/* Read what has come. Returns whether the answer is complete. */
static int listen_to(Connection *connection)
{
    while (connection->received < size) {
        ssize_t n = recv(connection->fd, reply, size - connection->received, 0);
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            fail("recv");
        if (n == 0) {
            errno = ECONNRESET;
            fail("the server closed a connection");
        }
        if (memcmp(reply, request + connection->received, n)) {
            errno = EBADMSG;
            fail("what came back is not what was sent");
        }
        connection->received += n;
    }
    return 1;
}

int main(int count, char **arguments)
{
    if (count != 10) {
        fprintf(stderr, "usage: client transport port pid connections size warmup requests seconds "
                        "reconnect\n");
        return 2;
    }
    datagrams = !strcmp(*++arguments, "udp");
    address.sin_port = htons(atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    clockid_t server;
    if (clock_getcpuclockid(atoi(arguments[2]), &server))
        fail("clock_getcpuclockid");
    long connections = atol(arguments[3]);
    size = atol(arguments[4]);
    long long warmup = atoll(arguments[5]), requests = atoll(arguments[6]);
    long long limit = atof(arguments[7]) * 1e9;
    int reconnect = atoi(arguments[8]);

    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    request = malloc(size);
    reply = malloc(size);
    for (size_t i = 0; i < size; i++)
        request[i] = 'a' + i % 23;
    poller = epoll_create1(0);
    Connection *all = calloc(connections, sizeof *all);
    struct epoll_event events[256];
    long dialled = 0, greeted = 0;
    long long completed = 0, began = nanoseconds(CLOCK_MONOTONIC), cpu = 0, wall = began;

    /* Every connection makes one request; then all start to make as many as they can. */
    while (completed < warmup + requests || greeted < connections) {
        while (dialled < connections && dialled - greeted < GREETING)
            dial(&all[dialled++]);
        int ready = epoll_wait(poller, events, 256, 1000);
        /* It is silent: all datagrams that were on their way are lost. Of others some may be. */
        for (long k = 0; datagrams && !ready && k < dialled; k++)
            if (all[k].received < size)
                ask(&all[k]);
        for (int i = 0; i < ready; i++) {
            Connection *connection = events[i].data.ptr;
            if (connection->sent < size)
                transmit(connection);
            if (connection->received == size || !listen_to(connection))
                continue;
            if (greeted < connections) {
                if (!connection->greeted++)
                    greeted++;
                if (greeted == connections && requests) {
                    began = wall = nanoseconds(CLOCK_MONOTONIC);
                    cpu = nanoseconds(server);
                    for (long k = 0; k < connections; k++)
                        ask(&all[k]);
                }
                continue;
            }
            if (++completed == warmup) {
                wall = nanoseconds(CLOCK_MONOTONIC);
                cpu = nanoseconds(server);
            }
            if (completed >= warmup + requests)
                break;
            if (reconnect) {
                close(connection->fd);
                dial(connection);
            } else
                ask(connection);
        }
        if (nanoseconds(CLOCK_MONOTONIC) - began > limit)
            break;
    }
    cpu = nanoseconds(server) - cpu;
    wall = nanoseconds(CLOCK_MONOTONIC) - wall;
    if (greeted < connections || (requests && completed <= warmup)) {
        fprintf(stderr, "client: %ld of %ld connections answered, %lld requests, then time was up\n",
                greeted, connections, completed);
        return 1;
    }
    printf("{\"requests\": %lld, \"cpu\": %lld, \"wall\": %lld}\n",
           requests ? completed - warmup : 0, cpu, wall);
    fflush(stdout);
    /* The connections stay open until whoever started this has looked at the server. */
    while (read(0, reply, 1) > 0)
        ;
    return 0;
}
