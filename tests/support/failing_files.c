/* Calls on files that fail: the first COUNT of a kind, on files whose name has a part.

   $FAILING_FILES is CALL:PART:ERRNO:COUNT, CALL one of open, read, write, fsync. A write does half of its work first.
   Where $FAILING_RANK is set, only that rank's calls fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int done; /* calls that failed so far */

static int path_fails(const char *call, const char *path) {
    char kind[16], part[64];
    int number, count;
    const char *told = getenv("FAILING_FILES");
    if (!told || sscanf(told, "%15[^:]:%63[^:]:%d:%d", kind, part, &number, &count) != 4) return 0;
    const char *only = getenv("FAILING_RANK"), *rank = getenv("RANK"), *name = strrchr(path, '/');
    if (only && (!rank || strcmp(only, rank))) return 0;
    if (strcmp(kind, call) || !strstr(name ? name : path, part) || done >= count) return 0;
    done++;
    return number;
}

static int fails(const char *call, int fd) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path_fails(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t read(int fd, void *buffer, size_t size) {
    int number = fails("read", fd);
    return number ? (errno = number, -1) : NEXT(read)(fd, buffer, size);
}

ssize_t write(int fd, const void *buffer, size_t size) {
    int number = fails("write", fd);
    if (!number) return NEXT(write)(fd, buffer, size);
    NEXT(write)(fd, buffer, size / 2);
    return errno = number, -1;
}

int fsync(int fd) {
    int number = fails("fsync", fd);
    return number ? (errno = number, -1) : NEXT(fsync)(fd);
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

#define OPEN(name)                                                                  \
    int name(const char *path, int flags, ...) {                                    \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = mode_of(flags, rest);                                         \
        va_end(rest);                                                               \
        int number = path_fails("open", path);                                      \
        return number ? (errno = number, -1) : NEXT(name)(path, flags, mode);       \
    }
OPEN(open)
OPEN(open64)
