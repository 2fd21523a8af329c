/* Faults at numbered writes: preloaded (LD_PRELOAD), it counts the calls that change files below one folder and, at a
   chosen one, kills the process (before, after, or in the middle of a write) or lets the call fail with an errno.

   Counted: open that creates or empties a file, write, pwrite, writev, fsync, fdatasync, ftruncate, fallocate, rename,
   link, symlink, unlink, rmdir, mkdir, chmod, utimes. Not seen: C's stdio (its writes do not leave libc) and writes to a
   memory map; neither odkd nor the libraries that write for it use them (sqlite without WAL, zarr, torch, PyAV, rust). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* FAIL_ON: every later call fails, too, as on a full disk. SIGNAL: the call goes on after the signal. MEMORY: no more. */
enum { COUNT, BEFORE, AFTER, TORN, FAIL, FAIL_ON, SIGNAL, MEMORY };
enum { GO, STOP, HALF, DIE_AFTER };

static char under[PATH_MAX];
static size_t under_length;
static int mode, code, log_fd = -1;
static long target;
static atomic_long count;

/* Begin to count below `folder`; at number `point` (from 1) do what `how` says. Points are written to `log`, if given. */
void faults_plan(const char *folder, long point, int how, int number, int log) {
    strncpy(under, folder, sizeof under - 1);
    under_length = strlen(under);
    target = point; mode = how; code = number; log_fd = log;
    atomic_store(&count, 0);
}

long faults_count(void) { return atomic_load(&count); }

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) syscall(SYS_pause); }

/* Let little more address space be had than there is: malloc may use up what it holds, and fails then. With none at all,
   a thread that cannot begin lets Python's Thread.start wait for ever, which no program in Python can help. */
static void forbid_memory(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (file) { if (fscanf(file, "%ld", &pages) != 1) pages = 0; fclose(file); }
    struct rlimit limit = { (rlim_t)pages * sysconf(_SC_PAGESIZE) + (16 << 20), RLIM_INFINITY };
    if (pages) setrlimit(RLIMIT_AS, &limit);
}

static int is_below(const char *path) {
    return under_length && strncmp(path, under, under_length) == 0 && (path[under_length] == '/' || !path[under_length]);
}

/* The absolute path of `path`, relative to the folder `at`; links are not followed: the trials use none. */
static const char *absolute(int at, const char *path, char *buffer) {
    if (!under_length || !path) return NULL;
    if (path[0] == '/') return path;
    char base[PATH_MAX] = "";
    if (at == AT_FDCWD) { if (!getcwd(base, sizeof base)) return NULL; }
    else {
        char link[64]; snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0) return NULL;
        base[n] = 0;
    }
    snprintf(buffer, PATH_MAX, "%s/%s", base, path);
    return buffer;
}

static const char *of_fd(int fd, char *buffer) {
    char link[64];
    if (!under_length) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buffer, PATH_MAX - 1);
    if (n < 0) return NULL;
    buffer[n] = 0;
    return buffer;
}

/* Count a call, and return what shall become of it. `removes`: it gives room back, so a full disk does not stop it. */
static int point(const char *name, const char *path, int removes) {
    if (!path || !is_below(path)) return GO;
    int saved = errno;
    long number = atomic_fetch_add(&count, 1) + 1;
    if (log_fd >= 0) {
        char line[PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%ld\t%s\t%s\n", number, name, path + under_length);
        syscall(SYS_write, log_fd, line, n);
    }
    errno = saved;
    int is_here = target && number == target;
    if (mode == FAIL_ON && target && number >= target && (!removes || is_here)) { errno = code; return STOP; }
    if (!is_here || mode == COUNT) return GO;
    if (mode == BEFORE) die();
    if (mode == FAIL) { errno = code; return STOP; }
    if (mode == SIGNAL) { syscall(SYS_kill, getpid(), code); return GO; }
    if (mode == MEMORY) { forbid_memory(); return GO; }
    return mode == TORN ? HALF : DIE_AFTER;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define END(todo, result) do { if ((todo) != GO) die(); return result; } while (0)

static ssize_t whole(int fd, const char *bytes, size_t size, off_t place, int has_place) {
    return has_place ? syscall(SYS_pwrite64, fd, bytes, size, place) : syscall(SYS_write, fd, bytes, size);
}

static ssize_t writing(const char *name, int fd, const void *bytes, size_t size, off_t place, int has_place) {
    char buffer[PATH_MAX];
    int todo = under_length && fd > 2 && fd != log_fd ? point(name, of_fd(fd, buffer), 0) : GO;
    if (todo == STOP) return -1;
    if (todo == HALF) { whole(fd, bytes, size / 2, place, has_place); die(); }
    ssize_t result = whole(fd, bytes, size, place, has_place);
    END(todo, result);
}

ssize_t write(int fd, const void *bytes, size_t size) { return writing("write", fd, bytes, size, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t place) { return writing("pwrite", fd, bytes, size, place, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t place) { return writing("pwrite", fd, bytes, size, place, 1); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
    char buffer[PATH_MAX];
    int todo = under_length && fd > 2 ? point("writev", of_fd(fd, buffer), 0) : GO;
    if (todo == STOP) return -1;
    if (todo == HALF) { if (n) syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2); die(); }
    ssize_t result = syscall(SYS_writev, fd, parts, n);
    END(todo, result);
}

#define ON_FD(name, arguments, call)                                                  \
    int name arguments {                                                              \
        char buffer[PATH_MAX];                                                        \
        REAL(name);                                                                   \
        int todo = point(#name, of_fd(fd, buffer), 0);                                \
        if (todo == STOP) return -1;                                                  \
        int result = real call;                                                       \
        END(todo, result);                                                            \
    }
ON_FD(fsync, (int fd), (fd))
ON_FD(fdatasync, (int fd), (fd))
ON_FD(ftruncate, (int fd, off_t size), (fd, size))
ON_FD(ftruncate64, (int fd, off64_t size), (fd, size))

int posix_fallocate64(int fd, off64_t from, off64_t size) {
    char buffer[PATH_MAX];
    REAL(posix_fallocate64);
    int todo = point("fallocate", of_fd(fd, buffer), 0);
    if (todo == STOP) return code;
    int result = real(fd, from, size);
    END(todo, result);
}
int posix_fallocate(int fd, off_t from, off_t size) { return posix_fallocate64(fd, from, size); }

#define ON_PATH(name, at, path, removes, arguments, call)                             \
    int name arguments {                                                              \
        char buffer[PATH_MAX];                                                        \
        REAL(name);                                                                   \
        int todo = point(#name, absolute(at, path, buffer), removes);                 \
        if (todo == STOP) return -1;                                                  \
        int result = real call;                                                       \
        END(todo, result);                                                            \
    }
ON_PATH(rename, AT_FDCWD, to, 0, (const char *from, const char *to), (from, to))
ON_PATH(renameat, at, to, 0, (int old, const char *from, int at, const char *to), (old, from, at, to))
ON_PATH(renameat2, at, to, 0, (int old, const char *from, int at, const char *to, unsigned flags), (old, from, at, to, flags))
ON_PATH(link, AT_FDCWD, to, 0, (const char *from, const char *to), (from, to))
ON_PATH(linkat, at, to, 0, (int old, const char *from, int at, const char *to, int flags), (old, from, at, to, flags))
ON_PATH(symlink, AT_FDCWD, to, 0, (const char *from, const char *to), (from, to))
ON_PATH(symlinkat, at, to, 0, (const char *from, int at, const char *to), (from, at, to))
ON_PATH(unlink, AT_FDCWD, path, 1, (const char *path), (path))
ON_PATH(unlinkat, at, path, 1, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(rmdir, AT_FDCWD, path, 1, (const char *path), (path))
ON_PATH(mkdir, AT_FDCWD, path, 0, (const char *path, mode_t bits), (path, bits))
ON_PATH(mkdirat, at, path, 0, (int at, const char *path, mode_t bits), (at, path, bits))
ON_PATH(chmod, AT_FDCWD, path, 0, (const char *path, mode_t bits), (path, bits))
ON_PATH(utimensat, at, path, 0, (int at, const char *path, const struct timespec times[2], int flags), (at, path, times, flags))

/* A clock that goes backwards: each look at the time of day shows one second less than the one before. */
static atomic_long looks = -1;
void faults_turn_clock(void) { atomic_store(&looks, 0); }

int clock_gettime(clockid_t which, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, which, now);
    if (which == CLOCK_REALTIME && atomic_load(&looks) >= 0) now->tv_sec -= atomic_fetch_add(&looks, 1);
    return result;
}

/* Only an open that makes or empties a file changes the disk; one for reading is no point. */
static int opening(int at, const char *path, int flags, mode_t bits) {
    char buffer[PATH_MAX];
    int todo = GO;
    if (under_length && ((flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT))
        todo = point(flags & (O_CREAT | O_TRUNC) ? "create" : "open", absolute(at, path, buffer), 0);
    if (todo == STOP) return -1;
    int result = syscall(SYS_openat, at, path, flags, bits);
    END(todo, result);
}

#define OPEN(name, at, ...)                                                           \
    int name(__VA_ARGS__ const char *path, int flags, ...) {                              \
        mode_t bits = 0;                                                              \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); bits = va_arg(more, mode_t); va_end(more); } \
        return opening(at, path, flags, bits);                                        \
    }
OPEN(open, AT_FDCWD, )
OPEN(open64, AT_FDCWD, )
OPEN(openat, at, int at,)
OPEN(openat64, at, int at,)
int creat(const char *path, mode_t bits) { return opening(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, bits); }
int creat64(const char *path, mode_t bits) { return opening(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, bits); }
