// SPDX-License-Identifier: GPL-2.0
/*
 * bench-traffic: one bulk TCP transfer between two markers that the TCG plugin
 * tools/tcg-plugin/count.c sees.  It does as little as a program can: one
 * write() or read() for every 64 KiB.
 *
 *   bench-traffic serve PORT                            answer the next two, for ever
 *   bench-traffic send ADDRESS PORT BYTES [GATEWAY]     until the server has read all
 *   bench-traffic receive ADDRESS PORT BYTES [GATEWAY]  until all has been read
 *   bench-traffic idle MILLISECONDS                     nothing, for so long
 *   bench-traffic mark PORT                             execute markers for others, for ever
 *
 * With a GATEWAY it is "bench-traffic mark" there that executes the markers, asked by UDP at PORT,
 * because the guest that is measured is on the way and has no end of the connection.
 *
 * Addresses are IPv4.  Exit status 0 if everything was transferred, 1 if not
 * or after two minutes, 2 for a wrong command line.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIME_LIMIT 120 /* seconds */
#define CHUNK (64 * 1024)

#define MARK(number) __asm__ volatile(".byte 0x0f, 0x1f, 0x80, " #number ", 'E', 'S', 'N'" ::: "memory")
#define START 1
#define END 2

/* What the client asks the server to do, in host byte order: both are one program. */
struct request {
	uint64_t bytes;
	uint64_t server_sends;
};

static char chunk[CHUNK];

static void die(const char *what)
{
	fprintf(stderr, "bench-traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Both return 0, or -1 when the connection failed or ended early. */
static int write_all(int fd, const void *data, size_t len)
{
	while (len) {
		ssize_t done = write(fd, data, len);

		if (done <= 0)
			return -1;
		data = (const char *)data + done;
		len -= done;
	}
	return 0;
}

static int read_all(int fd, void *data, size_t len)
{
	while (len) {
		ssize_t done = read(fd, data, len);

		if (done <= 0)
			return -1;
		data = (char *)data + done;
		len -= done;
	}
	return 0;
}

static int send_bytes(int fd, uint64_t bytes)
{
	for (; bytes > CHUNK; bytes -= CHUNK)
		if (write_all(fd, chunk, CHUNK))
			return -1;
	return write_all(fd, chunk, bytes);
}

static int receive_bytes(int fd, uint64_t bytes)
{
	while (bytes) {
		ssize_t done = read(fd, chunk, bytes < CHUNK ? bytes : CHUNK);

		if (done <= 0)
			return -1;
		bytes -= done;
	}
	return 0;
}

/* A whole number without sign; anything else ends the program. */
static uint64_t number_of(const char *text)
{
	uint64_t number;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end) {
		fprintf(stderr, "bench-traffic: %s: not a number\n", text);
		exit(2);
	}
	return number;
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	uint64_t number = number_of(port);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(number) };

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || !number || number > 65535) {
		fprintf(stderr, "bench-traffic: %s port %s: not an IPv4 address and port\n",
			address, port);
		exit(2);
	}
	return to;
}

static void mark_here(char number)
{
	if (number == START)
		MARK(1);
	else
		MARK(2);
}

/* Executes a marker here, or has it executed at the other end of a socket, if there is one. */
static void mark(int fd, char number)
{
	if (fd < 0)
		mark_here(number);
	else if (write(fd, &number, 1) != 1 || read(fd, &number, 1) != 1)
		die("no marker");
}

static void mark_for_others(const char *port)
{
	struct sockaddr_in from, here = address_of("0.0.0.0", port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (bind(fd, (struct sockaddr *)&here, sizeof(here)))
		die("cannot bind");
	for (;;) {
		socklen_t len = sizeof(from);
		char number;

		if (recvfrom(fd, &number, 1, 0, (struct sockaddr *)&from, &len) != 1)
			die("recvfrom");
		mark_here(number);
		sendto(fd, &number, 1, 0, (struct sockaddr *)&from, len);
	}
}

static int marker_at(const char *gateway, const char *port)
{
	struct sockaddr_in to = address_of(gateway, port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect to the gateway");
	return fd;
}

static void serve(const char *port)
{
	struct sockaddr_in here = address_of("0.0.0.0", port);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 4))
		die("cannot listen");
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		struct request request;

		if (fd < 0)
			die("accept");
		/* A client that goes away early notices itself. */
		if (!read_all(fd, &request, sizeof(request))) {
			if (request.server_sends)
				send_bytes(fd, request.bytes);
			else if (!receive_bytes(fd, request.bytes))
				write_all(fd, chunk, 1);
		}
		close(fd);
	}
}

static void transfer(const char *address, const char *port, uint64_t bytes, int receive, int marker)
{
	struct sockaddr_in to = address_of(address, port);
	struct request request = { .bytes = bytes, .server_sends = receive };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int failed;

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	mark(marker, START);
	failed = write_all(fd, &request, sizeof(request));
	if (!failed)
		failed = receive ? receive_bytes(fd, bytes) :
				   send_bytes(fd, bytes) || read_all(fd, chunk, 1);
	mark(marker, END);
	if (failed)
		die("the transfer failed");
	close(fd);
}

static void idle(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	mark_here(START);
	nanosleep(&time, NULL);
	mark_here(END);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "serve") && argc == 3) {
		serve(argv[2]);
		return 0;
	}
	if (!strcmp(what, "mark") && argc == 3) {
		mark_for_others(argv[2]);
		return 0;
	}
	alarm(TIME_LIMIT);
	memset(chunk, 'e', sizeof(chunk)); /* have its pages */
	if ((!strcmp(what, "send") || !strcmp(what, "receive")) && (argc == 5 || argc == 6)) {
		transfer(argv[2], argv[3], number_of(argv[4]), what[0] == 'r',
			 argc == 6 ? marker_at(argv[5], argv[3]) : -1);
	} else if (!strcmp(what, "idle") && argc == 3) {
		idle(number_of(argv[2]));
	} else {
		fprintf(stderr, "Usage: bench-traffic serve PORT | mark PORT | idle MILLISECONDS |\n"
				"       send|receive ADDRESS PORT BYTES [GATEWAY]\n");
		return 2;
	}
	return 0;
}
