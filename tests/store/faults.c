/* A disk that fails when asked to: loaded into a program by LD_PRELOAD, it stands between that and the C library.
 *
 * Of a file X/store/..., writing fails while there is a file X/fault, with the error whose number stands in it. With
 * ENOSPC only writing data fails, as on a full disk; with any other error everything that changes something does; with
 * -1 that takes as long as the file is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum what { DATA, OTHER };

/* The number in a file; zero: it is not there. */
static int number_in(const char *name)
{
	char text[16] = "";
	int saved = errno, file = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
	if (file >= 0) {
		if (read(file, text, sizeof text - 1) < 0)
			text[0] = 0;
		close(file);
	}
	errno = saved;
	return atoi(text);
}

static int fault_at(const char *path, enum what what)
{
	const char *store = strstr(path, "/store/");
	char name[PATH_MAX];
	if (!store || (size_t)snprintf(name, sizeof name, "%.*s/fault", (int)(store - path), path) >= sizeof name)
		return 0;
	int error = number_in(name);
	for (; error < 0; error = number_in(name))
		usleep(10000);
	return error == ENOSPC && what == OTHER ? 0 : error;
}

static int fault_of(int file, enum what what)
{
	char name[64], path[PATH_MAX];
	int saved = errno;
	snprintf(name, sizeof name, "/proc/self/fd/%d", file);
	ssize_t length = readlink(name, path, sizeof path - 1);
	errno = saved;
	if (length < 0)
		return 0;
	path[length] = 0;
	return fault_at(path, what);
}

#define FAIL_IF(fault)             \
	do {                       \
		int error = fault; \
		if (error) {       \
			errno = error; \
			return -1; \
		}                  \
	} while (0)
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t length)
{
	FAIL_IF(fault_of(file, DATA));
	return NEXT(write)(file, data, length);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
	FAIL_IF(fault_of(file, DATA));
	return NEXT(writev)(file, parts, count);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t at)
{
	FAIL_IF(fault_of(file, DATA));
	return NEXT(pwrite64)(file, data, length, at);
}

int ftruncate64(int file, off64_t length)
{
	FAIL_IF(fault_of(file, OTHER));
	return NEXT(ftruncate64)(file, length);
}

int fsync(int file)
{
	FAIL_IF(fault_of(file, OTHER));
	return NEXT(fsync)(file);
}

int fdatasync(int file)
{
	FAIL_IF(fault_of(file, OTHER));
	return NEXT(fdatasync)(file);
}

int open64(const char *path, int flags, ...)
{
	va_list more;
	va_start(more, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
	va_end(more);
	if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
		FAIL_IF(fault_at(path, OTHER));
	return NEXT(open64)(path, flags, mode);
}

int unlink(const char *path)
{
	FAIL_IF(fault_at(path, OTHER));
	return NEXT(unlink)(path);
}

int rename(const char *from, const char *to)
{
	FAIL_IF(fault_at(to, OTHER));
	return NEXT(rename)(from, to);
}
