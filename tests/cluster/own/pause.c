/* The first process of every pod: holds its namespaces until it is told to stop. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void stop(int signal_number) { exit(0); }

int main(void) {
  /* The kernel ignores signals for which a first process has no handler. */
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  for (;;) pause();
}
