// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <atomic>
#include <cstddef>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "probewise.h"
#include "probewise/errors.hpp"
#include "probewise/loop.hpp"

namespace probewise::c {

/// A status other than what an exception's type says, with its sentence.
class Failure : public std::runtime_error {
 public:
  Failure(probewise_status status, const std::string& what) : std::runtime_error(what), status_(status) {}
  probewise_status status() const noexcept { return status_; }

 private:
  probewise_status status_;
};

inline probewise_status say(probewise_status status, const char* what, char* message, std::size_t size) noexcept {
  if (message == nullptr || size == 0) return status;
  std::size_t length = 0;
  for (; what[length] != '\0' && length + 1 < size; ++length) message[length] = what[length];
  message[length] = '\0';
  return status;
}

/// Runs `body`; what it throws becomes a status and a sentence.
template <class Body>
probewise_status guarded(char* message, std::size_t size, Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return PROBEWISE_OK;
  } catch (const Failure& failure) {
    return say(failure.status(), failure.what(), message, size);
  } catch (const TooManyBadFrames& error) {
    return say(PROBEWISE_SCAN, error.what(), message, size);
  } catch (const Error& error) {
    return say(PROBEWISE_NUMERIC, error.what(), message, size);
  } catch (const std::bad_alloc&) {
    return say(PROBEWISE_MEMORY, "not enough memory", message, size);
  } catch (const std::length_error&) {
    return say(PROBEWISE_MEMORY, "not enough memory", message, size);
  } catch (const std::logic_error& error) {  // invalid_argument, out_of_range
    return say(PROBEWISE_ARGUMENT, error.what(), message, size);
  } catch (const std::exception& error) {
    return say(PROBEWISE_INTERNAL, error.what(), message, size);
  } catch (...) {
    return say(PROBEWISE_INTERNAL, "an exception of unknown type", message, size);
  }
}

template <class T>
T* expected(T* pointer, const char* name) {
  if (pointer == nullptr) throw std::invalid_argument(std::string(name) + " is null, expected a pointer");
  return pointer;
}

/// A handle's one thread at a time.
class Use {
 public:
  explicit Use(std::atomic<bool>& busy) : busy_(busy) {
    if (busy_.exchange(true, std::memory_order_acquire)) {
      throw Failure(PROBEWISE_BUSY, "the handle is in use, expected one call at a time");
    }
  }
  ~Use() { busy_.store(false, std::memory_order_release); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  std::atomic<bool>& busy_;
};

Kernel kernel_of(probewise_kernel kernel);
Policy policy_of(probewise_policy policy);

}  // namespace probewise::c
