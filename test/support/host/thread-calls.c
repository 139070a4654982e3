/*
 * thread-calls PID: makes system calls on the threads of another process, as an attacker in that process would: with
 * the thread's filter, root, namespaces and capabilities. x86-64.
 *
 * Reads lines "TID GATE NUMBER ARGUMENT..." and answers each with its outcome: the result, "refused" by a filter that
 * traps, or "ended". GATE: "call" for the instruction syscall, "int80" for the one of 32-bit programs. An ARGUMENT is
 * a number, or bytes in memory of that thread: "=text", zero-terminated, or "#hex".
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGUMENTS 6
#define MAX_LINE 4096
#define ARGUMENT_BYTES 512
/* Below the stack pointer and what leaf functions keep there. */
#define RED_ZONE_BYTES 256
/* siginfo's si_code of a system call that a filter traps. */
#define FROM_SECCOMP 1
#define EXIT_BROKEN 2

static const uint8_t gates[][3] = { { 0x0f, 0x05, 0xcc }, { 0xcd, 0x80, 0xcc } };
#define GATES (sizeof(gates) / sizeof(gates[0]))
#define GATE_SPACING 8

static int memory_fd;
/* The program's entry point, which no thread executes again. */
static uint64_t entry;

static void must(long result, const char *what)
{
    if (result >= 0)
        return;
    perror(what);
    exit(EXIT_BROKEN);
}

static uint64_t find_entry(int pid)
{
    char path[32];
    Elf64_auxv_t item;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
    fd = open(path, O_RDONLY);
    must(fd, path);
    while (read(fd, &item, sizeof(item)) == sizeof(item) && item.a_type != AT_ENTRY)
        ;
    close(fd);
    return item.a_un.a_val;
}

/* Also writes to memory that is mapped read-only. */
static void poke(uint64_t address, const void *bytes, size_t len_bytes)
{
    must(pwrite(memory_fd, bytes, len_bytes, (off_t)address), "write the memory of the process");
}

/* Returns the value for a register; writes bytes in memory to `at`. */
static uint64_t lay_down(const char *word, uint64_t at)
{
    uint8_t bytes[ARGUMENT_BYTES] = { 0 };

    if (word[0] == '=') {
        snprintf((char *)bytes, sizeof(bytes), "%s", word + 1);
    } else if (word[0] == '#') {
        for (size_t n = 0; n < sizeof(bytes) && sscanf(word + 1 + 2 * n, "%2hhx", &bytes[n]) == 1; n++)
            ;
    } else {
        return strtoull(word, NULL, 0);
    }
    poke(at, bytes, sizeof(bytes));
    return at;
}

static void stop(int tid)
{
    must(ptrace(PTRACE_SEIZE, tid, 0, 0), "seize");
    must(ptrace(PTRACE_INTERRUPT, tid, 0, 0), "interrupt");
    must(waitpid(tid, NULL, __WALL), "wait for the thread");
}

/* Lets the thread run to the breakpoint behind the gate, and prints the outcome. Returns false if the thread is
 * gone. */
static bool run(int tid)
{
    struct user_regs_struct registers;
    siginfo_t info;
    int status;

    must(ptrace(PTRACE_CONT, tid, 0, 0), "continue");
    must(waitpid(tid, &status, __WALL), "wait for the call");
    if (!WIFSTOPPED(status)) {
        puts("ended");
        return false;
    }
    if (WSTOPSIG(status) == SIGTRAP) {
        must(ptrace(PTRACE_GETREGS, tid, 0, &registers), "read registers");
        printf("%lld\n", (long long)registers.rax);
        return true;
    }
    must(ptrace(PTRACE_GETSIGINFO, tid, 0, &info), "read the signal");
    if (info.si_signo == SIGSYS && info.si_code == FROM_SECCOMP)
        puts("refused");
    else
        printf("signal %d\n", info.si_signo);
    return true;
}

static void make_call(int tid, size_t gate, char *const words[], size_t count)
{
    struct user_regs_struct saved, registers;
    unsigned long long values[MAX_ARGUMENTS + 1] = { 0 };

    stop(tid);
    must(ptrace(PTRACE_GETREGS, tid, 0, &saved), "read registers");
    registers = saved;
    registers.rsp = (saved.rsp - RED_ZONE_BYTES - MAX_ARGUMENTS * ARGUMENT_BYTES) & ~15ULL;
    for (size_t n = 0; n < count; n++)
        values[n] = lay_down(words[n], registers.rsp + n * ARGUMENT_BYTES);
    registers.rip = entry + gate * GATE_SPACING;
    /* Keeps the kernel from restarting the interrupted call here; it continues after `saved` is restored. */
    registers.orig_rax = ~0ULL;
    registers.rax = values[0];
    registers.rdi = values[1];
    registers.rsi = values[2];
    registers.rdx = values[3];
    registers.r10 = values[4];
    registers.r8 = values[5];
    registers.r9 = values[6];
    if (gate != 0) {
        registers.rbx = values[1];
        registers.rcx = values[2];
    }
    must(ptrace(PTRACE_SETREGS, tid, 0, &registers), "set registers");
    if (!run(tid))
        return;
    must(ptrace(PTRACE_SETREGS, tid, 0, &saved), "set registers back");
    must(ptrace(PTRACE_DETACH, tid, 0, 0), "leave");
}

static void open_process(int pid)
{
    char path[32];

    entry = find_entry(pid);
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    memory_fd = open(path, O_RDWR);
    must(memory_fd, path);
    for (size_t n = 0; n < GATES; n++)
        poke(entry + n * GATE_SPACING, gates[n], sizeof(gates[n]));
}

int main(int argc, char **argv)
{
    char line[MAX_LINE], *words[MAX_ARGUMENTS + 3], *rest;

    if (argc != 2)
        return EXIT_BROKEN;
    open_process(atoi(argv[1]));
    while (fgets(line, sizeof(line), stdin) != NULL) {
        size_t count = 0;

        for (char *word = strtok_r(line, " \n", &rest); word != NULL && count < MAX_ARGUMENTS + 3;
             word = strtok_r(NULL, " \n", &rest))
            words[count++] = word;
        if (count < 3)
            return EXIT_BROKEN;
        make_call(atoi(words[0]), strcmp(words[1], "int80") == 0, words + 2, count - 2);
        fflush(stdout);
    }
    return 0;
}
