"""Processes whose clock is wrong: the C library's is wrapped, as libfaketime does."""

import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long off(void) { const char *text = getenv("CLOCK_OFF"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec here;
    clock_gettime(CLOCK_REALTIME, &here);
    now->tv_sec = here.tv_sec;
    now->tv_usec = here.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec here;
    clock_gettime(CLOCK_REALTIME, &here);
    if (at) *at = here.tv_sec;
    return here.tv_sec;
}
"""


def can_be_wrong() -> bool:
    """Whether there is a C compiler."""
    return shutil.which("cc") is not None


def wrong_clock(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is ``seconds`` ahead; files' times are right."""
    library = folder / "clock.so"
    if not library.exists():
        command = ["cc", "-shared", "-fPIC", "-o", str(library), "-x", "c", "-", "-ldl"]
        subprocess.run(command, input=SOURCE.encode(), check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_OFF": str(seconds)}
