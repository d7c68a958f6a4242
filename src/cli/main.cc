// r2-router: the library's work from a shell.
#include <csignal>

#include "cli/run.h"

int main(int argc, char** argv) {
  // A reader that goes away shows as a failed write, which ends the program in order.
  std::signal(SIGPIPE, SIG_IGN);
  return r2router::cli::run(argc, argv);
}
