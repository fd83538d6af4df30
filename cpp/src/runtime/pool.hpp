// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace probewise {

/// Threads that sleep until there are pieces of work. Pieces must not depend on one another; who does which is not
/// determined, so that a result which is to be the same for every number of threads is written by one piece alone.
class Pool {
 public:
  using Work = void (*)(const void* context, std::size_t piece);

  /// `threads` with the caller's own; the others are started by the first `run` that can use them.
  explicit Pool(std::size_t threads) : threads_(threads) {}
  ~Pool() { stop(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  std::size_t threads() const noexcept { return threads_; }

  /// Does all pieces and returns; of those that throw, the lowest one's exception is thrown here, and pieces after it
  /// may be left out. A second caller at the same time, or a piece that calls this, does its pieces itself.
  void run(std::size_t pieces, Work work, const void* context);

  /// Ends the threads; from then on the caller does everything.
  void stop() noexcept;

 private:
  struct Region {
    Work work;
    const void* context;
    std::size_t pieces;
    std::atomic<std::size_t> next{0};
    std::size_t failed_piece = 0;  // the two under `mutex_`
    std::exception_ptr failure{};
  };

  void start_workers();
  void wait_for_work();
  /// Until none is left, or for a worker until the pool is stopped.
  void do_pieces(Region& region, bool is_worker);

  std::size_t threads_;
  std::vector<std::thread> workers_;
  std::mutex one_region_;  // held by the caller whose region it is
  std::mutex mutex_;       // of all that follows
  std::condition_variable work_, done_;
  Region* region_ = nullptr;
  std::size_t regions_ = 0, inside_ = 0;
  std::atomic<bool> stopped_{false};  // written under `mutex_`
};

/// The one pool of the core, of `core_threads()`. A forked child gets a new one; its threads are joined at exit.
Pool& core_pool();

/// For tests: the core shares all work, however small, among `threads` while this lives. Only one at a time, and
/// nobody else at work.
class UseThreads {
 public:
  explicit UseThreads(std::size_t threads);
  ~UseThreads();
  UseThreads(const UseThreads&) = delete;
  UseThreads& operator=(const UseThreads&) = delete;

 private:
  Pool pool_;
};

/// True when so much work, in microseconds on one thread, is worth more than one.
bool is_worth_sharing(double microseconds);

/// body(piece) for every piece below `pieces`, on the core's threads when all of them take `microseconds` or so on one
/// and that pays. The pieces must be cut in a way that does not depend on the number of threads.
template <class Body>
void for_pieces(std::size_t pieces, double microseconds, const Body& body) {
  if (pieces > 1 && is_worth_sharing(microseconds)) {
    core_pool().run(
        pieces, [](const void* context, std::size_t piece) { (*static_cast<const Body*>(context))(piece); }, &body);
  } else {
    for (std::size_t piece = 0; piece < pieces; ++piece) body(piece);
  }
}

}  // namespace probewise
