#include "pipeline/ordered_workers.h"

#include <utility>

namespace r2router::internal {

OrderedWorkers::OrderedWorkers(std::size_t threads) : most_(4 * threads) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

OrderedWorkers::~OrderedWorkers() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    waiting_.clear();
  }
  job_added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void OrderedWorkers::add(Job job) {
  std::unique_lock lock(mutex_);
  job_delivered_.wait(lock,
                      [this] { return failure_ || taken_ - delivered_ + waiting_.size() < most_; });
  if (failure_) std::rethrow_exception(failure_);
  waiting_.push_back(std::move(job));
  job_added_.notify_one();
}

void OrderedWorkers::finish() {
  std::unique_lock lock(mutex_);
  job_delivered_.wait(lock,
                      [this] { return failure_ || (delivered_ == taken_ && waiting_.empty()); });
  if (failure_) std::rethrow_exception(failure_);
}

void OrderedWorkers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    job_added_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty() || failure_) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    const std::uint64_t number = taken_++;
    try {
      lock.unlock();
      Deliver deliver = job();
      lock.lock();
      finished_.emplace(number, std::move(deliver));
      if (!delivering_) deliver_finished(lock);
    } catch (...) {
      if (!lock.owns_lock()) lock.lock();
      if (!failure_) failure_ = std::current_exception();
      job_delivered_.notify_all();
      return;
    }
  }
}

// Releases the lock while it delivers. Jobs that finish meanwhile are delivered by this thread too.
void OrderedWorkers::deliver_finished(std::unique_lock<std::mutex>& lock) {
  delivering_ = true;
  for (auto next = finished_.begin();
       next != finished_.end() && next->first == delivered_ && !closed_ && !failure_;
       next = finished_.begin()) {
    const Deliver deliver = std::move(next->second);
    finished_.erase(next);
    lock.unlock();
    deliver();
    lock.lock();
    ++delivered_;
    job_delivered_.notify_all();
  }
  delivering_ = false;
}

}  // namespace r2router::internal
