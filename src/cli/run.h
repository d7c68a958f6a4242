// The r2-router program as a function, for main() and the Python package.
#pragma once

namespace r2router::cli {

/// Runs the command line `argv` and returns the exit code: 0 success, 1 failure, 2 wrong usage.
/// Writes results to standard output, diagnostics and errors to standard error. Never throws.
///
/// The caller must ignore SIGPIPE, so that a closed pipe ends the command and not the process.
int run(int argc, char** argv);

}  // namespace r2router::cli
