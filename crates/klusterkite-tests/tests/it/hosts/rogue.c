/* Processes that do not behave, and those that tests of processes need; linked statically, so that it runs anywhere. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char asked[4096];

static void data(char *path, const char *name) {
    const char *directory = getenv("KLUSTERKITE_DATA");
    snprintf(path, 4096, "%s/%s", directory ? directory : ".", name);
}

static void touch(const char *path) {
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (file >= 0)
        close(file);
}

static void on_term(int signal) {
    (void)signal;
    touch(asked);
    _exit(0);
}

static void rest(void) {
    for (;;)
        pause();
}

/* Starts a process in a session of its own that loses its parent at once. */
static void orphan(int stays) {
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() == 0 && stays)
            rest();
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* Leaves forty dead orphans and one that stays; writes down when it has, and that it was asked to end. */
static void daemons(void) {
    char done[4096];
    data(asked, "asked");
    signal(SIGTERM, on_term);
    for (int count = 0; count < 40; count++)
        orphan(0);
    orphan(1);
    data(done, "orphaned");
    touch(done);
    rest();
}

/* Waits for a file and becomes as many processes as it can. What holds it is somebody else's limit; if that does not,
   a user of its own has no more than 400 processes, and all of them end after three minutes, whatever happens. */
static void bomb(void) {
    const struct rlimit most = {400, 400};
    char fuse[4096];
    data(fuse, "bomb");
    while (access(fuse, F_OK) != 0)
        usleep(50000);
    time_t end = time(NULL) + 180;
    if (setrlimit(RLIMIT_NPROC, &most) || setgid(64123) || setuid(64123) || setuid(0) == 0)
        _exit(9);
    while (time(NULL) < end)
        if (fork() < 0)
            usleep(20000);
    _exit(0);
}

/* Starts processes with exactly these ids in this namespace, says so, and stays as their parent. */
static void foreign(char **ids) {
    int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    for (; last >= 0 && *ids; ids++) {
        char text[32];
        pid_t wanted = atoi(*ids), got = 0;
        int length = snprintf(text, sizeof text, "%d", wanted - 1);
        for (int tries = 0; got != wanted && tries < 2000; tries++) {
            if (pwrite(last, text, length, 0) != length)
                _exit(9);
            got = fork();
            if (got == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                rest();
            }
            if (got != wanted) {
                kill(got, SIGKILL);
                waitpid(got, NULL, 0);
            }
        }
        if (got != wanted)
            _exit(8);
    }
    if (last < 0 || write(1, "there\n", 6) != 6)
        _exit(9);
    rest();
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "daemon"))
        daemons();
    if (!strcmp(what, "bomb"))
        bomb();
    if (!strcmp(what, "foreign"))
        foreign(arguments + 2);
    if (!strcmp(what, "deaf"))
        signal(SIGTERM, SIG_IGN);
    if (!strcmp(what, "mute")) {
        close(1);
        close(2);
    }
    if (!strcmp(what, "init"))
        signal(SIGCHLD, SIG_IGN); /* The kernel collects what this process adopts. */
    rest();
}
