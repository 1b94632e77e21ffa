/* The least that a gate in userspace can do: takes control connections that TPROXY hands over, connects to whom they
 * dialled as the edge, and copies bytes both ways. One thread, one epoll; data connections are none of its business.
 *
 *   relay PORT     writes "ready" once it listens; ends with its standard input
 *
 * A mark for portcullis, which does the same and reads what it copies. Not for use: a peer that takes nothing makes it
 * drop the connection. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, PIECE = 8192, BACKLOG = 1024 };

struct leg {
    int fd;
    int connecting;
    struct leg *other; /* NULL: closed within this round, freed behind it */
    struct leg *next_closed;
};

static int epoll;
static struct leg *closed;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void set(int fd, int level, int option) {
    int on = 1;
    if (setsockopt(fd, level, option, &on, sizeof on) != 0) fail("setsockopt");
}

static void watch(struct leg *leg, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = leg};
    if (epoll_ctl(epoll, operation, leg->fd, &event) != 0) fail("epoll_ctl");
}

/* Both legs go together; events of this round may still name them. */
static void close_both(struct leg *leg) {
    struct leg *pair[2] = {leg, leg->other};
    for (int i = 0; i < 2; i++) {
        close(pair[i]->fd);
        pair[i]->other = NULL;
        pair[i]->next_closed = closed;
        closed = pair[i];
    }
}

static void take(int listener) {
    struct sockaddr_in dialled;
    socklen_t length = sizeof dialled;
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct leg *legs = calloc(1, sizeof *legs), *other = calloc(1, sizeof *other);
    if (server < 0 || legs == NULL || other == NULL) fail("no room for a session");
    set(client, IPPROTO_TCP, TCP_NODELAY);
    set(server, IPPROTO_TCP, TCP_NODELAY);
    /* TPROXY: the local address is whom the client dialled. */
    if (getsockname(client, (struct sockaddr *)&dialled, &length) != 0) fail("getsockname");
    if (connect(server, (struct sockaddr *)&dialled, length) != 0 && errno != EINPROGRESS) fail("connect");
    *legs = (struct leg){.fd = client, .other = other};
    *other = (struct leg){.fd = server, .connecting = 1, .other = legs};
    watch(other, EPOLL_CTL_ADD, EPOLLOUT);
}

static void copy(struct leg *leg, unsigned events) {
    char bytes[PIECE];
    if (leg->connecting) {
        if (events & (EPOLLERR | EPOLLHUP)) return close_both(leg);
        leg->connecting = 0;
        watch(leg, EPOLL_CTL_MOD, EPOLLIN);
        watch(leg->other, EPOLL_CTL_ADD, EPOLLIN);
        return;
    }
    ssize_t count = recv(leg->fd, bytes, sizeof bytes, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0 || send(leg->other->fd, bytes, count, MSG_NOSIGNAL) != count) close_both(leg);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: relay PORT\n");
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    set(listener, SOL_SOCKET, SO_REUSEADDR);
    set(listener, SOL_IP, IP_TRANSPARENT);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0) fail("bind");
    if (listen(listener, BACKLOG) != 0) fail("listen");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    struct leg door = {.fd = listener, .other = &door}, input = {.fd = STDIN_FILENO, .other = &input};
    watch(&door, EPOLL_CTL_ADD, EPOLLIN);
    watch(&input, EPOLL_CTL_ADD, EPOLLIN);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct leg *leg = events[i].data.ptr;
            if (leg == &input) return 0;
            if (leg == &door) take(listener);
            else if (leg->other != NULL) copy(leg, events[i].events);
        }
        while (closed != NULL) {
            struct leg *next = closed->next_closed;
            free(closed);
            closed = next;
        }
    }
}
