/*
 * Checks that the vector registers of two processes survive context switches. Each process fills every register with
 * its own pattern. Prints each kind of register that kept it; exits with status 1 at the first kind that did not.
 *
 * The processes alternate: each sends a byte to the other one and waits for one, so every turn is a switch between
 * them. During all turns the pattern is in the registers only, because load, turns and store are one assembly block.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TURNS = 1000 };

/* 32 registers of 64 bytes. */
typedef uint32_t Registers[32 * 64 / sizeof(uint32_t)];

/*
 * Loads the registers from `pattern`, takes TURNS turns over the socket `peer`, and stores the registers in `kept`.
 * Returns the number of turns not taken because a system call failed.
 */
typedef long Keep(const Registers pattern, Registers kept, int peer);

#define SIXTEEN "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"
#define THIRTY_TWO SIXTEEN ",16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"

/* A turn is write(2), system call 1, then read(2), system call 0. A system call overwrites rax, rcx and r11 only. */
#define DEFINE_KEEP(keep, move, kind, numbers, bytes)                               \
	static long keep(const Registers pattern, Registers kept, int peer)         \
	{                                                                           \
		char byte = 0;                                                      \
		long left = TURNS;                                                  \
		__asm__ volatile(".irp n, " numbers "\n"                            \
				 move " \\n*" bytes "(%[pattern]), %%" kind "\\n\n" \
				 ".endr\n"                                          \
				 "0: mov $1, %%eax\n"                               \
				 "syscall\n"                                        \
				 "cmp $1, %%rax\n"                                  \
				 "jne 1f\n"                                         \
				 "xor %%eax, %%eax\n"                               \
				 "syscall\n"                                        \
				 "cmp $1, %%rax\n"                                  \
				 "jne 1f\n"                                         \
				 "dec %[left]\n"                                    \
				 "jnz 0b\n"                                         \
				 "1: .irp n, " numbers "\n"                         \
				 move " %%" kind "\\n, \\n*" bytes "(%[kept])\n"    \
				 ".endr\n"                                          \
				 : [left] "+r"(left)                                \
				 : [pattern] "r"(pattern), [kept] "r"(kept),        \
				   "D"(peer), "S"(&byte), "d"(1L)                   \
				 : "rax", "rcx", "r11", "cc", "memory", "xmm0",     \
				   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",  \
				   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",        \
				   "xmm12", "xmm13", "xmm14", "xmm15");             \
		return left;                                                        \
	}

DEFINE_KEEP(keep_xmm, "movdqu", "xmm", SIXTEEN, "16")
DEFINE_KEEP(keep_ymm, "vmovdqu", "ymm", SIXTEEN, "32")
DEFINE_KEEP(keep_zmm, "vmovdqu32", "zmm", THIRTY_TWO, "64")

/* Runs one of the two processes. Returns its exit status: 0 if it took all turns and the registers kept the pattern. */
static int take_turns(Keep *keep, size_t size, uint32_t process, int peer)
{
	Registers pattern = { 0 }, kept = { 0 };
	for (uint32_t n = 0; n < size / sizeof *pattern; n++)
		pattern[n] = process << 16 | n;
	return keep(pattern, kept, peer) != 0 || memcmp(kept, pattern, sizeof kept) != 0;
}

static int both_keep(Keep *keep, size_t size)
{
	int sockets[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
		return 0;
	pid_t child = fork();
	if (child < 0)
		return 0;
	if (child == 0) {
		close(sockets[0]);
		_exit(take_turns(keep, size, 1, sockets[1]));
	}
	close(sockets[1]);
	int status = take_turns(keep, size, 2, sockets[0]);
	close(sockets[0]);
	int of_child;
	return waitpid(child, &of_child, 0) == child && of_child == 0 && status == 0;
}

int main(void)
{
	const struct {
		const char *kind;
		int present;
		Keep *keep;
		size_t size;
	} kinds[] = {
		{ "xmm", 1, keep_xmm, 16 * 16 },
		{ "ymm", __builtin_cpu_supports("avx"), keep_ymm, 16 * 32 },
		{ "zmm", __builtin_cpu_supports("avx512f"), keep_zmm, 32 * 64 },
	};
	/* A process whose peer has exited reports that in its status. */
	signal(SIGPIPE, SIG_IGN);
	for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
		if (!kinds[n].present)
			continue;
		if (!both_keep(kinds[n].keep, kinds[n].size)) {
			printf("%s lost\n", kinds[n].kind);
			return 1;
		}
		printf("%s\n", kinds[n].kind);
	}
	return 0;
}
