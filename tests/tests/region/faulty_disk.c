/* Has the disk of one process fail, while the file named by STARLING_FAULT says how: `full` (no space for what is
 * written to a file) or `sync` (what was written does not reach the disk). Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fault_is(const char *kind) {
    const char *path = getenv("STARLING_FAULT");
    char text[16] = {0};
    if (!path) return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return length > 0 && strncmp(text, kind, strlen(kind)) == 0;
}

static int is_file(int fd) {
    struct stat stat;
    return fd > 2 && fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
}

static int fails(int fd, const char *kind, int error) {
    if (!is_file(fd) || !fault_is(kind)) return 0;
    errno = error;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return fails(fd, "full", ENOSPC) ? -1 : real(fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return fails(fd, "full", ENOSPC) ? -1 : real(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite");
    return fails(fd, "full", ENOSPC) ? -1 : real(fd, bytes, count, at);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return fails(fd, "sync", EIO) ? -1 : real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd, "sync", EIO) ? -1 : real(fd);
}
