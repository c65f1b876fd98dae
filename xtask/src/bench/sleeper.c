/* The process that the benches of supervision start: it writes "+ TAG PID NANOSECONDS" (CLOCK_REALTIME) to the file
   $SLEEPER_LOG, or /log/stamps, as its first act, sleeps, and on TERM writes the same with "-" and ends at once. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int stamps;
static const char *tag;

static void stamp(char sign) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char line[128];
    int length = snprintf(line, sizeof line, "%c %.60s %d %lld\n", sign, tag, (int)getpid(),
                          now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(stamps, line, length) < 0)
        _exit(2);
}

static void end(int signal) {
    (void)signal;
    stamp('-');
    _exit(0);
}

int main(int count, char **arguments) {
    const char *path = getenv("SLEEPER_LOG");
    stamps = open(path ? path : "/log/stamps", O_WRONLY | O_APPEND | O_CREAT, 0644);
    tag = count > 1 ? arguments[1] : "-";
    signal(SIGTERM, end);
    signal(SIGINT, end);
    stamp('+');
    for (;;)
        pause();
}
