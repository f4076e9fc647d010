/* Has the disk and the wall clock of a process go wrong, while a file says so. Loaded with LD_PRELOAD.
 *
 * STARLING_FAULT names the file. Its lines:
 *   disk full       no space for what is written to a file
 *   disk failing    what was written does not reach the disk
 *   clock -3600000  the wall clock is off by so many milliseconds; monotonic time goes on as it does
 * It is looked at by whoever writes, syncs or asks for the wall clock, 100 ms after the last look at the earliest.
 * What the process had open from its start, such as its log, is spared.
 *
 * STARLING_FAULT.synced gets a line for each file that was synced: inode, birth in nanoseconds (an inode may be
 * given to another file), and the length that is safe. Power is cut by killing the process and then cutting every
 * file to that length. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WELL, FULL, FAILING };

static const char *fault_path;
static int synced_fd = -1;
static struct stat began[3];
static atomic_int disk;
static atomic_llong offset_ns;
/* When the file was last looked at, in nanoseconds of monotonic time. */
static atomic_llong looked_ns;
#define LOOK_EVERY_NS 100000000LL
#define SECOND_NS 1000000000LL
/* Monotonic time does not come so far, and no wall clock is before it: the year 2001. */
#define WALL_SECONDS_MIN 1000000000LL

/* The next definition of a function. Whoever is first looks it up; all find the same. */
#define REAL(name) \
    static _Atomic(__typeof__(&name)) found; \
    __typeof__(&name) real = atomic_load_explicit(&found, memory_order_relaxed); \
    if (!real) { \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        atomic_store_explicit(&found, real, memory_order_relaxed); \
    }

/* Before main, and before there are threads; but other libraries may have asked for the time already. */
__attribute__((constructor)) static void begin(void) {
    char path[4096];
    for (int fd = 0; fd < 3; fd++) fstat(fd, &began[fd]);
    fault_path = getenv("STARLING_FAULT");
    if (!fault_path || !*fault_path) {
        fault_path = NULL;
        return;
    }
    int length = snprintf(path, sizeof path, "%s.synced", fault_path);
    if (length > 0 && (size_t)length < sizeof path)
        synced_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Where it is taken for one of the first three, or closed with all others, nothing is recorded. */
    if (synced_fd >= 0 && synced_fd < 3) {
        close(synced_fd);
        synced_fd = -1;
    }
}

static int ask_clock(clockid_t id, struct timespec *now) {
    REAL(clock_gettime)
    return real(id, now);
}

/* Reads the file. Only calls of the system: what is intercepted here, or allocates, is not to be used. */
static void read_faults(void) {
    char text[256];
    long length = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, fault_path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        length = syscall(SYS_read, fd, text, sizeof text - 1);
        syscall(SYS_close, fd);
    }
    text[length > 0 ? length : 0] = 0;
    int found_disk = WELL;
    long long found_ns = 0;
    for (char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (!strncmp(line, "disk full", 9)) found_disk = FULL;
        if (!strncmp(line, "disk failing", 12)) found_disk = FAILING;
        if (!strncmp(line, "clock ", 6)) found_ns = strtoll(line + 6, NULL, 10) * 1000000;
    }
    atomic_store_explicit(&disk, found_disk, memory_order_relaxed);
    atomic_store_explicit(&offset_ns, found_ns, memory_order_relaxed);
}

static void look(void) {
    struct timespec now;
    if (!fault_path || ask_clock(CLOCK_MONOTONIC_COARSE, &now)) return;
    int saved = errno;
    long long now_ns = now.tv_sec * SECOND_NS + now.tv_nsec;
    long long last_ns = atomic_load_explicit(&looked_ns, memory_order_relaxed);
    if ((!last_ns || now_ns - last_ns >= LOOK_EVERY_NS) &&
        atomic_compare_exchange_strong(&looked_ns, &last_ns, now_ns))
        read_faults();
    errno = saved;
}

/* The disk. */

static int is_file(int fd) {
    struct stat stat;
    int saved = errno;
    int is = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
    errno = saved;
    return is && !(fd >= 0 && fd < 3 && stat.st_dev == began[fd].st_dev && stat.st_ino == began[fd].st_ino);
}

static int fails(int fd, int how, int error) {
    look();
    if (atomic_load_explicit(&disk, memory_order_relaxed) != how || !is_file(fd)) return 0;
    errno = error;
    return 1;
}

#define WRITES(type, name, parameters, arguments) \
    type name parameters { \
        REAL(name) \
        return fails(fd, FULL, ENOSPC) ? -1 : real arguments; \
    }

WRITES(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count))
WRITES(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t at), (fd, bytes, count, at))
WRITES(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t at), (fd, bytes, count, at))
WRITES(ssize_t, writev, (int fd, const struct iovec *all, int count), (fd, all, count))
WRITES(ssize_t, pwritev, (int fd, const struct iovec *all, int count, off_t at), (fd, all, count, at))
WRITES(ssize_t, pwritev64, (int fd, const struct iovec *all, int count, off64_t at), (fd, all, count, at))
WRITES(ssize_t, pwritev2, (int fd, const struct iovec *all, int count, off_t at, int flags),
       (fd, all, count, at, flags))
WRITES(int, fallocate, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length))
WRITES(int, fallocate64, (int fd, int mode, off64_t at, off64_t length), (fd, mode, at, length))

int posix_fallocate(int fd, off_t at, off_t length) {
    REAL(posix_fallocate)
    return fails(fd, FULL, errno) ? ENOSPC : real(fd, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    REAL(posix_fallocate64)
    return fails(fd, FULL, errno) ? ENOSPC : real(fd, at, length);
}

ssize_t copy_file_range(int in, off64_t *from, int fd, off64_t *to, size_t count, unsigned flags) {
    REAL(copy_file_range)
    return fails(fd, FULL, ENOSPC) ? -1 : real(in, from, fd, to, count, flags);
}

/* A file that gets shorter needs no space. */
static int grows(int fd, off64_t length) {
    struct stat stat;
    return fstat(fd, &stat) == 0 && length > stat.st_size;
}

int ftruncate(int fd, off_t length) {
    REAL(ftruncate)
    return grows(fd, length) && fails(fd, FULL, ENOSPC) ? -1 : real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64)
    return grows(fd, length) && fails(fd, FULL, ENOSPC) ? -1 : real(fd, length);
}

/* Says that the first `safe->stx_size` bytes of a file are on the disk, in one write. */
static void record(const struct statx *safe) {
    char line[96];
    int is_born = (safe->stx_mask & STATX_BTIME) != 0;
    long long born_ns = is_born ? safe->stx_btime.tv_sec * SECOND_NS + safe->stx_btime.tv_nsec : 0;
    int length = snprintf(line, sizeof line, "%llu %lld %llu\n", (unsigned long long)safe->stx_ino, born_ns,
                          (unsigned long long)safe->stx_size);
    if (length > 0 && (size_t)length < sizeof line) syscall(SYS_write, synced_fd, line, length);
}

/* The length is taken before the sync: what another thread adds meanwhile may be on the disk or not. */
static int synced(int fd, int (*sync)(int)) {
    struct statx safe;
    if (fails(fd, FAILING, EIO)) return -1;
    int is = synced_fd >= 0 && is_file(fd) &&
             statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_SIZE | STATX_BTIME, &safe) == 0;
    int done = sync(fd);
    int saved = errno;
    if (done == 0 && is) record(&safe);
    errno = saved;
    return done;
}

int fsync(int fd) {
    REAL(fsync)
    return synced(fd, real);
}

int fdatasync(int fd) {
    REAL(fdatasync)
    return synced(fd, real);
}

/* It promises nothing that a power cut would respect: no record. */
int sync_file_range(int fd, off64_t at, off64_t length, unsigned flags) {
    REAL(sync_file_range)
    return fails(fd, FAILING, EIO) ? -1 : real(fd, at, length, flags);
}

/* The clock. */

static long long wall_offset_ns(void) {
    look();
    return atomic_load_explicit(&offset_ns, memory_order_relaxed);
}

static void shift(struct timespec *time, long long by_ns) {
    long long ns = time->tv_nsec + by_ns % SECOND_NS;
    time->tv_sec += by_ns / SECOND_NS + (ns >= SECOND_NS) - (ns < 0);
    time->tv_nsec = ns + (ns < 0 ? SECOND_NS : 0) - (ns >= SECOND_NS ? SECOND_NS : 0);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int done = ask_clock(id, now);
    if (done == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        long long by_ns = wall_offset_ns();
        if (by_ns) shift(now, by_ns);
    }
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
    *now = (struct timeval){.tv_sec = time.tv_sec, .tv_usec = time.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    struct timespec time;
    if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
    if (now) *now = time.tv_sec;
    return time.tv_sec;
}

/* Who waits until a time of the wall clock means this clock, and the kernel knows only the right one. Untranslated, a
 * waiter would not wait at all while the clock is behind, and turn in circles. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static _Atomic(__typeof__(&pthread_cond_timedwait)) found;
    __typeof__(&pthread_cond_timedwait) real = atomic_load_explicit(&found, memory_order_relaxed);
    if (!real) {
        /* Without its version this may be one for conditions of another layout. */
        real = (__typeof__(real))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
        if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "pthread_cond_timedwait");
        atomic_store_explicit(&found, real, memory_order_relaxed);
    }
    long long by_ns = atomic_load_explicit(&offset_ns, memory_order_relaxed);
    if (!by_ns || until->tv_sec < WALL_SECONDS_MIN) return real(condition, mutex, until);
    struct timespec right = *until;
    shift(&right, -by_ns);
    return real(condition, mutex, &right);
}
