// Jobs that run side by side, and whose results are told in the order in which the jobs came.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace r2router::internal {

/// add() and finish() belong to one thread.
class OrderedWorkers {
 public:
  /// What is left to do when a job's turn comes: it never runs beside another job's.
  using Tell = std::function<void()>;
  using Job = std::function<Tell()>;

  explicit OrderedWorkers(std::size_t threads);
  /// Waits for the jobs that run; those that have not begun are dropped, and nothing more is told.
  ~OrderedWorkers();
  OrderedWorkers(const OrderedWorkers&) = delete;
  OrderedWorkers& operator=(const OrderedWorkers&) = delete;

  /// Hands over a job. Waits while many are unfinished or untold, so that they stay bounded however
  /// long one of them takes. Rethrows what a job or a Tell threw: no other is begun after that.
  void add(Job job);
  /// Waits until every job has been told. Rethrows as add() does.
  void finish();

 private:
  void work();
  void tell_finished(std::unique_lock<std::mutex>& lock);

  const std::size_t most_;  // of jobs that have been added and not told
  std::mutex mutex_;
  std::condition_variable job_added_, job_told_;
  std::deque<Job> waiting_;
  std::uint64_t taken_ = 0;  // jobs that have left waiting_, which is their number
  std::uint64_t told_ = 0;
  std::map<std::uint64_t, Tell> finished_;  // by number
  bool telling_ = false;                    // a thread is at it
  bool closed_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace r2router::internal
