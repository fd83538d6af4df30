// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/pool.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "probewise/threads.hpp"

#if defined(_WIN32)
#include <process.h>
#else
#include <unistd.h>
#endif

namespace probewise {

namespace {

thread_local bool in_region = false;

long process_id() noexcept {
#if defined(_WIN32)
  return _getpid();
#else
  return getpid();
#endif
}

std::size_t threads_wanted() {
  const char* given = std::getenv("PROBEWISE_THREADS");
  if (given == nullptr) return 1;
  const std::string_view text(given);
  std::size_t count = 0;
  bool whole = !text.empty();
  for (const char digit : text) {
    whole = whole && digit >= '0' && digit <= '9';
    if (whole && count <= 1024) count = 10 * count + static_cast<std::size_t>(digit - '0');
  }
  if (!whole || count < 1 || count > 1024) {
    throw std::invalid_argument("PROBEWISE_THREADS is '" + std::string(text) +
                                "', expected a whole number from 1 to 1024");
  }
  return count;
}

struct Owned {
  Owned() : pool(core_threads()), process(process_id()) {}
  Pool pool;
  long process;
};

// Never deleted: a thread that outlives main may still ask for it, and a forked child has no threads to join.
std::atomic<Owned*> owned{nullptr};
std::atomic<Pool*> used_by_tests{nullptr};

void stop_at_exit() {
  Owned* last = owned.load();
  if (last != nullptr && last->process == process_id()) last->pool.stop();
}

}  // namespace

void Pool::run(std::size_t pieces, Work work, const void* context) {
  if (threads_ < 2 || pieces < 2 || in_region || !one_region_.try_lock()) {
    for (std::size_t piece = 0; piece < pieces; ++piece) work(context, piece);
    return;
  }
  const std::lock_guard<std::mutex> held(one_region_, std::adopt_lock);
  Region region{work, context, pieces};
  std::size_t wanted = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (workers_.empty() && !stopped_) start_workers();
    wanted = std::min(workers_.size(), pieces - 1);
    region_ = &region;
    ++regions_;
  }
  for (std::size_t i = 0; i < wanted; ++i) work_.notify_one();
  in_region = true;
  do_pieces(region, false);
  in_region = false;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    region_ = nullptr;  // a worker that wakes late finds none
    done_.wait(lock, [this] { return inside_ == 0; });
  }
  if (region.failure) std::rethrow_exception(region.failure);
}

void Pool::start_workers() {
  workers_.reserve(threads_ - 1);
  try {
    while (workers_.size() + 1 < threads_) workers_.emplace_back([this] { wait_for_work(); });
  } catch (const std::system_error&) {
    // The system gives no more threads: those that are there, or the caller, do the same work.
  }
}

void Pool::wait_for_work() {
  in_region = true;
  std::size_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stopped_ || (region_ != nullptr && regions_ != seen); });
    if (stopped_) return;
    Region& region = *region_;
    seen = regions_;
    ++inside_;
    lock.unlock();
    do_pieces(region, true);
    lock.lock();
    if (--inside_ == 0) done_.notify_one();
  }
}

void Pool::do_pieces(Region& region, bool is_worker) {
  while (!(is_worker && stopped_)) {
    const std::size_t piece = region.next.fetch_add(1, std::memory_order_relaxed);
    if (piece >= region.pieces) return;
    try {
      region.work(region.context, piece);
    } catch (...) {
      // Pieces are begun in order, so that all before this one have been: the lowest that throws is always the same.
      region.next = region.pieces;
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!region.failure || piece < region.failed_piece) {
        region.failure = std::current_exception();
        region.failed_piece = piece;
      }
    }
  }
}

void Pool::stop() noexcept {
  std::vector<std::thread> ending;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    ending.swap(workers_);
  }
  work_.notify_all();
  for (std::thread& worker : ending) worker.join();
}

std::size_t core_threads() {
  static const std::size_t threads = threads_wanted();
  return threads;
}

Pool& core_pool() {
  if (Pool* pool = used_by_tests.load()) return *pool;
  Owned* current = owned.load();
  if (current != nullptr && current->process == process_id()) return current->pool;
  auto made = std::make_unique<Owned>();
  if (!owned.compare_exchange_strong(current, made.get())) return current->pool;  // another thread was quicker
  std::atexit(stop_at_exit);
  return made.release()->pool;
}

bool is_worth_sharing(double microseconds) {
  // A sleeping thread takes 5 to 50 us to begin and the caller 5 us to wake it: 100 us shared by two are as quick as
  // done by one.
  constexpr double least_us = 200.0;
  return used_by_tests.load() != nullptr || (core_threads() > 1 && microseconds >= least_us);
}

UseThreads::UseThreads(std::size_t threads) : pool_(threads) { used_by_tests = &pool_; }
UseThreads::~UseThreads() { used_by_tests = nullptr; }

}  // namespace probewise
