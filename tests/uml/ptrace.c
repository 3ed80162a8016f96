/*
 * ptrace(2) for user-mode Linux 6.1 on a processor with AMX; loaded into linux.uml by LD_PRELOAD.
 *
 * linux.uml runs its processes under ptrace and restores their floating-point and vector registers from a buffer of
 * 2696 bytes, the XSAVE area up to and including AVX-512 and PKRU. The host kernel accepts only an XSAVE area of the
 * processor's full size, 11008 bytes with AMX. It refuses a shorter one with EFAULT, and linux.uml kills the process,
 * which is its init.
 *
 * This version extends the area with zeros. No state is lost: the XSAVE header is in the caller's part, and it marks
 * no component beyond that part as in use. Only AMX is there, which a process must request from the host kernel with
 * arch_prctl(2), and a process of user-mode Linux cannot. PTRACE_GETREGSET works as it is: it fills a short buffer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * Larger than any processor's area: the host kernel reads as much as it needs. Static because the caller's stack is a
 * kernel stack of 16 KiB; shared because linux.uml has one CPU and restores no registers in an interrupt. The part
 * beyond the caller's is never written and stays zero.
 */
static unsigned char area[16 * 1024] __attribute__((aligned(64)));

static long (*libc_ptrace)(int request, ...);

/* Runs before main(), while linux.uml is still an ordinary program whose calls into libc are safe. */
__attribute__((constructor)) static void find_libc_ptrace(void)
{
	libc_ptrace = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	const struct iovec *part = data;
	if (request != PTRACE_SETREGSET || (uintptr_t)address != NT_X86_XSTATE || part->iov_len > sizeof area)
		return libc_ptrace(request, pid, address, data);
	memcpy(area, part->iov_base, part->iov_len);
	struct iovec whole = { .iov_base = area, .iov_len = sizeof area };
	return libc_ptrace(request, pid, address, &whole);
}
