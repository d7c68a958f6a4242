// Jobs that run concurrently and whose results are delivered in the order in which they were added.
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
  /// Delivers a job's result. Called in order, one at a time.
  using Deliver = std::function<void()>;
  using Job = std::function<Deliver()>;

  explicit OrderedWorkers(std::size_t threads);
  /// Waits for running jobs. Drops those that have not started, and delivers nothing more.
  ~OrderedWorkers();
  OrderedWorkers(const OrderedWorkers&) = delete;
  OrderedWorkers& operator=(const OrderedWorkers&) = delete;

  /// Adds a job. Waits while many are not delivered, so that their number is bounded even if one
  /// takes long. Rethrows what a job or a Deliver threw; no other job starts after that.
  void add(Job job);
  /// Waits until every result is delivered. Rethrows as add() does.
  void finish();

 private:
  void work();
  void deliver_finished(std::unique_lock<std::mutex>& lock);

  const std::size_t most_;  // jobs that are added and not delivered
  std::mutex mutex_;
  std::condition_variable job_added_, job_delivered_;
  std::deque<Job> waiting_;
  std::uint64_t taken_ = 0;  // jobs that have left waiting_; the next one's number
  std::uint64_t delivered_ = 0;
  std::map<std::uint64_t, Deliver> finished_;  // by number
  bool delivering_ = false;                    // by a thread
  bool closed_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace r2router::internal
