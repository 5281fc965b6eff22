/* Preloaded into a gateway by `sealgate-bench gauges`: counts, per thread, what the program asks of its C library, in a
 * file that the measuring process reads meanwhile. Never part of Sealgate, and of glibc only.
 *
 * Counted: calls of the allocator, bytes given to memcpy and memmove (the kernel's copies are not, nor the few bytes that a
 * compiler moves in registers), io_uring_enter, and the system calls that an epoll loop does its work with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ALLOCATIONS, COPIES, COPIED, ENTERS, CALLS, COUNTERS = 7 };
/* 64 bytes: the reader relies on it. */
struct slot {
    int64_t thread;
    uint64_t n[COUNTERS];
};
enum { SLOTS = 256 };

static struct slot fallback[SLOTS];
static struct slot *slots = fallback;
static atomic_int next;
static __thread struct slot *own __attribute__((tls_model("initial-exec")));

static void *(*real_memcpy)(void *, const void *, size_t);
static void *(*real_memmove)(void *, const void *, size_t);
static long (*real_syscall)(long, ...);

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

__attribute__((constructor)) static void start(void) {
    real_memcpy = dlsym(RTLD_NEXT, "memcpy");
    real_memmove = dlsym(RTLD_NEXT, "memmove");
    const char *path = getenv("SEALGATE_GAUGES");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof fallback, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) {
        own = NULL;
        atomic_store(&next, 0);
        slots = at;
    }
}

/* A thread's own: no other writes there, so that plain additions do. */
static inline void count(int what, uint64_t n) {
    if (__builtin_expect(own == NULL, 0)) {
        int i = atomic_fetch_add(&next, 1);
        own = &slots[i < SLOTS ? i : SLOTS - 1];
        long (*ask)(long, ...) = real_syscall ? real_syscall : dlsym(RTLD_NEXT, "syscall");
        own->thread = ask(SYS_gettid);
    }
    own->n[what] += n;
}

void *malloc(size_t n) {
    count(ALLOCATIONS, 1);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
    count(ALLOCATIONS, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *block, size_t n) {
    count(ALLOCATIONS, 1);
    return __libc_realloc(block, n);
}

void *aligned_alloc(size_t align, size_t n) {
    count(ALLOCATIONS, 1);
    return __libc_memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n) {
    count(ALLOCATIONS, 1);
    void *block = __libc_memalign(align, n);
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}

void *memcpy(void *to, const void *from, size_t n) {
    count(COPIES, 1);
    count(COPIED, n);
    if (real_memcpy)
        return real_memcpy(to, from, n);
    for (size_t i = 0; i < n; i++)
        ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    count(COPIES, 1);
    count(COPIED, n);
    if (real_memmove)
        return real_memmove(to, from, n);
    volatile char *t = to;
    const char *f = from;
    if ((uintptr_t)t <= (uintptr_t)f)
        for (size_t i = 0; i < n; i++)
            t[i] = f[i];
    else
        for (size_t i = n; i-- > 0;)
            t[i] = f[i];
    return to;
}

long syscall(long number, ...) {
    if (!real_syscall)
        real_syscall = dlsym(RTLD_NEXT, "syscall");
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_io_uring_enter)
        count(ENTERS, 1);
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define COUNTED(type, name, params, ...)                                                                                    \
    type name params {                                                                                                      \
        static type(*real) params;                                                                                          \
        if (!real)                                                                                                          \
            real = dlsym(RTLD_NEXT, #name);                                                                                 \
        count(CALLS, 1);                                                                                                    \
        return real(__VA_ARGS__);                                                                                           \
    }

COUNTED(int, epoll_wait, (int fd, struct epoll_event *events, int most, int timeout), fd, events, most, timeout)
COUNTED(ssize_t, read, (int fd, void *to, size_t n), fd, to, n)
COUNTED(ssize_t, write, (int fd, const void *from, size_t n), fd, from, n)
COUNTED(ssize_t, readv, (int fd, const struct iovec *to, int n), fd, to, n)
COUNTED(ssize_t, writev, (int fd, const struct iovec *from, int n), fd, from, n)
COUNTED(ssize_t, recv, (int fd, void *to, size_t n, int flags), fd, to, n, flags)
COUNTED(ssize_t, send, (int fd, const void *from, size_t n, int flags), fd, from, n, flags)
COUNTED(ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), fd, to, flags)
COUNTED(ssize_t, sendmsg, (int fd, const struct msghdr *from, int flags), fd, from, flags)
