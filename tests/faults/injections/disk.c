/* Makes writes and flushes of the spool's files fail as a page of memory says; everything else passes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { SQL_FSYNC = 16, SQL_WRITE, SQL_ERRNO, SQL_HITS, SQL_DELAY, SQL_DELAYED };

static volatile int64_t *page;

__attribute__((constructor)) static void open_page(void)
{
    const char *path = getenv("FAULTS_PAGE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED)
        page = found;
}

static int is_spool(int fd)
{
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return strstr(path, "/spool.db") != NULL;
}

static int fails(int slot, int fd)
{
    if (!page || page[slot] <= 0 || !is_spool(fd))
        return 0;
    __sync_fetch_and_sub(&page[slot], 1);
    __sync_fetch_and_add(&page[SQL_HITS], 1);
    errno = (int)page[SQL_ERRNO];
    return 1;
}

static void linger(int fd)
{
    if (!page || page[SQL_DELAY] <= 0 || !is_spool(fd))
        return;
    __sync_fetch_and_add(&page[SQL_DELAYED], 1);
    struct timespec pause = {page[SQL_DELAY] / 1000, page[SQL_DELAY] % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
    linger(fd);
    return fails(SQL_FSYNC, fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    linger(fd);
    return fails(SQL_FSYNC, fd) ? -1 : REAL(fdatasync)(fd);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return fails(SQL_WRITE, fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return fails(SQL_WRITE, fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
